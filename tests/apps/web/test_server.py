"""What the server gives to one who does not come with our page in a browser."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import httpx
import pytest
from PIL import Image

from redilate import RedilateError
from redilate.apps.web.server import serving
from tests.models import tiny_sdxl


@pytest.fixture(scope="module")
def address():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    with serving(pipe, "tiny", port=0, measure=False) as address:
        yield address


@pytest.fixture(scope="module")
def api(address: str):
    with httpx.Client(base_url=address, timeout=120) as client:
        yield client


def _draw(api: httpx.Client, image: dict | None) -> str:
    """What the server answers to the page's own call, made by hand with `image` to start from."""
    config = api.get("config").json()
    call = next(one for one in config["dependencies"] if one["targets"] and one["targets"][0][1] == "submit")
    parts = {part["id"]: part for part in config["components"]}
    values = []
    for number in call["inputs"]:
        props = parts[number]["props"]
        values.append({"Prompt": "a red apple", "Steps": 1}.get(props.get("label"), props.get("value")))
        if props.get("elem_id") == "upload":
            values[-1] = image
    body = {"data": values, "fn_index": call["id"], "session_hash": "by-hand"}
    api.post("gradio_api/queue/join", json=body).raise_for_status()
    with api.stream("GET", "gradio_api/queue/data", params={"session_hash": "by-hand"}) as stream:
        return "\n".join(line for line in stream.iter_lines() if "process_" in line)


def test_it_listens_on_this_machine_alone(address: str):
    assert address.startswith("http://127.0.0.1:")


def test_the_page_names_no_other_host(api: httpx.Client):
    settings = api.get("config").json()
    assert settings["analytics_enabled"] is False
    named = set(re.findall(r"https?://[^/'\"]+", api.get("theme.css").text))
    assert named <= {"http://www.w3.org"}  # SVG's namespace, which nothing fetches


def test_an_uploaded_picture_is_drawn_from(api: httpx.Client):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(file, "PNG")
    (path,) = api.post("gradio_api/upload", files={"files": ("it.png", file.getvalue())}).json()
    answer = _draw(api, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert '"success":true' in answer.replace(" ", "")


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", str(Path(__file__))])
def test_no_path_from_a_client_is_opened(api: httpx.Client, path: str):
    assert api.get(f"gradio_api/file={path}").status_code in (403, 404)
    answer = _draw(api, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert '"success":false' in answer.replace(" ", "") and "drawn anew" not in answer


def test_no_address_from_a_client_is_fetched(api: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    import gradio.processing_utils

    fetched = []

    async def fetch(url: str, **_: object) -> str:
        fetched.append(url)
        raise AssertionError

    monkeypatch.setattr(gradio.processing_utils, "async_ssrf_protected_download", fetch)
    answer = _draw(api, {"path": "http://example.org/it.png", "meta": {"_type": "gradio.FileData"}})
    assert fetched == [] and json.loads(answer.splitlines()[-1].removeprefix("data:"))["success"] is False


def test_a_file_that_is_too_large_is_not_taken(api: httpx.Client):
    from redilate.apps.web.draw import MOST_BYTES

    answer = api.post("gradio_api/upload", files={"files": ("it.png", b"\0" * (MOST_BYTES + 1))})
    assert answer.status_code == 413


def test_a_port_that_is_taken_is_refused_in_words(address: str):
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    with (
        pytest.raises(RedilateError, match=f"can't listen on 127.0.0.1:{port}"),
        serving(tiny_sdxl(), "tiny", port=port, measure=False),
    ):
        pass
