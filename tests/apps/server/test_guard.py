"""Nobody gets past without a key, or with a body without end."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from redilate import RedilateError
from redilate.apps.server.guard import Keys, read_keys
from redilate.apps.server.run import check_host, listen

from .conftest import KEY, Serving


def test_with_keys_everything_but_health_description_and_named_files_asks_for_one(
    serving: Serving, tiny: Any
):
    with serving(tiny, keys=("another key", KEY)) as served:
        url = served.draw(response_format="url").json()["data"][0]["url"]
        for header in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {KEY}"},
            {"Authorization": ""},
        ):
            with httpx.Client(base_url=served.root, headers=header) as stranger:
                for method, path in [
                    ("GET", "/v1/models"), ("POST", "/v1/images/generations"), ("POST", "/v1/images/edits"),
                    ("GET", "/metrics"), ("GET", "/nothing"),
                ]:  # fmt: skip
                    answer = stranger.request(method, path)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
                for path in ("/healthz", "/openapi.json", url):
                    assert stranger.get(path).status_code == 200
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(api_key="wrong", base_url=f"{served.root}/v1", max_retries=0).models.list()
        both = openai.OpenAI(api_key=KEY, base_url=f"{served.root}/v1", max_retries=0)
        assert both.models.list().data[0].id == "bundled"


def test_a_stranger_is_refused_before_a_byte_of_the_body_is_read(serving: Serving, tiny: Any):
    with serving(tiny, keys=(KEY,)) as served:
        answer = raw(
            served.root, b"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits"])
def test_a_body_that_is_too_long_is_a_413_said_or_not(serving: Serving, tiny: Any, path: str):
    with serving(tiny, upload_megabytes=0.1) as served:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
        assert raw(served.root, head + b"Content-Length: 9000000000\r\n\r\n").startswith(b"HTTP/1.1 413")
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        if path.endswith("edits"):
            head = head.replace(b"application/json", b"multipart/form-data; boundary=x")
            chunk = chunk.replace(
                b"a" * 60,
                b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'[:60],
                1,
            )
        assert raw(served.root, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40).startswith(
            b"HTTP/1.1 4"
        )
        assert served.http.get("/healthz").status_code == 200


def test_a_body_that_does_not_come_is_a_408(serving: Serving, tiny: Any):
    with serving(tiny, body_seconds=0.3) as served:
        head = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        answer = raw(served.root, head + b'Content-Length: 100\r\n\r\n{"prompt"')
        assert answer.startswith(b"HTTP/1.1 408")


def raw(root: str, data: bytes) -> bytes:
    """The first of the answer to bytes as they are."""
    where = urlsplit(root)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        with suppress(ConnectionError):  # refused before all of it was sent
            connection.sendall(data)
        return connection.recv(4096)


def test_keys_are_told_apart_from_anything_else():
    keys = Keys([KEY, "a second key"])
    for good in (KEY, "a second key"):
        assert keys.open_to(f"Bearer {good}".encode()) and keys.open_to(f"bearer {good}".encode())
    for bad in (
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        KEY.encode(),
        b"Bearer " + KEY[:-1].encode(),
        b"Bearer \xff\xfe",
    ):
        assert not keys.open_to(bad)
    assert Keys().open_to(None)


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "keys"
    file.write_text("# ours\n\nfirst-key-of-ours  # Anna's\nsecond-key-of-ours\n")
    monkeypatch.setenv("REDILATE_API_KEYS", "third-key-of-ours, ,fourth-key-of-ours")
    keys = read_keys(file)
    for key in ("first", "second", "third", "fourth"):
        assert keys.open_to(f"Bearer {key}-key-of-ours".encode())
    assert not keys.open_to(b"Bearer ") and not keys.open_to(b"Bearer # ours")


@pytest.mark.parametrize(
    ("text", "words"), [("# none\n", "no key"), ("short\n", "5 characters"), (None, "cannot read")]
)
def test_a_key_file_that_would_leave_the_server_open_is_refused(tmp_path: Path, text: str | None, words: str):
    file = tmp_path / "keys"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RedilateError, match=words):
        read_keys(file)


def test_beyond_loopback_keys_are_needed():
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_host(host, Keys(), insecure=False)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        with pytest.raises(RedilateError, match="REDILATE_API_KEYS"):
            check_host(host, Keys(), insecure=False)
        check_host(host, Keys([KEY]), insecure=False)
        check_host(host, Keys(), insecure=True)


def test_a_port_that_is_taken_is_refused():
    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(RedilateError, match=r"cannot listen on 127.0.0.1 port"),
    ):
        listen("127.0.0.1", taken.getsockname()[1])
