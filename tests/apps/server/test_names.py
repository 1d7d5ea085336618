"""Clients of other servers are understood, or told the name that is used here."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from redilate import RedilateError
from redilate.apps.server.run import check_origins

from .conftest import Served, Serving

NAMES = ("gpt-image-1", "dall-e-3")
PAGE = "https://example.com"


@pytest.fixture(scope="module")
def named(serving: Serving, tiny: Any) -> Any:
    with serving(tiny, keys=("a key for tests alone",), names=NAMES, origins=(PAGE,)) as served:
        yield served


def picture() -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 64)).save(out, "PNG")
    return out.getvalue()


def edit(served: Served, *, files: Any = None, **fields: str) -> Any:
    files = files or {"image": ("a.png", picture(), "image/png")}
    asked = {"prompt": "x", "steps": "2"} | fields
    return served.http.post("/v1/images/edits", files=files, data=asked)


def test_other_servers_names_mean_the_same(served: Served):
    own = served.draw(seed=5, steps=2, guidance=4.0, negative_prompt="blur", size="64x72").json()["data"]
    other = {"num_inference_steps": 2, "cfg_scale": 4.0, "negative": "blur", "width": 64, "height": 72}
    answer = served.http.post("/v1/images/generations", json={"prompt": "x", "seed": 5} | other)
    assert answer.json()["data"] == own
    again = served.http.post(
        "/v1/images/generations",
        json={
            "prompt": "x",
            "seed": 5,
            "guidance_scale": 4,
            "Steps": 2,
            "negative_prompt": "blur",
            "size": "64x72",
        },
    )
    assert again.json()["data"] == own


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"num_inference_steps": 2}, "num_inference_steps is called steps here, and steps is given twice"),
        ({"width": 64}, "width and height go together"),
        ({"width": 64, "height": 64}, "size says what width and height say"),
    ],
)
def test_what_is_said_twice_or_by_half_is_refused_in_words(served: Served, asked: dict[str, Any], words: str):
    error = served.draw(**asked).json()["error"]
    assert words in error["message"] and error["code"] == "invalid_value"


def test_a_seed_of_minus_one_is_any_and_the_answer_says_which(served: Served):
    first, second = (served.draw(seed=-1).json()["data"][0] for _ in range(2))
    assert first["seed"] >= 0 and first["seed"] != second["seed"]
    assert served.draw(seed=first["seed"]).json()["data"] == [first]


def test_the_model_has_every_name_it_is_served_under(named: Served):
    assert [model.id for model in named.openai.models.list()] == ["bundled", *NAMES]
    for name in NAMES:
        assert named.openai.models.retrieve(name).id == name
        assert named.draw(model=name).status_code == 200
    assert "'bundled' or 'gpt-image-1' or 'dall-e-3' is served" in named.draw(model="sd").text


def test_a_page_of_a_named_origin_may_ask_and_read_and_no_other(named: Served):
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = named.http.options(
        "/v1/images/generations", headers={"Origin": PAGE, "Authorization": ""} | asks
    )
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = named.http.get("/v1/models", headers={"Origin": PAGE} | headers)
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    other = named.http.get("/v1/models", headers={"Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_without_origins_no_page_may(served: Served):
    assert (
        "Access-Control-Allow-Origin" not in served.http.get("/v1/models", headers={"Origin": PAGE}).headers
    )


def test_origins_that_no_browser_sends_are_refused():
    check_origins(["*", PAGE, "http://localhost:3000"])
    for wrong in (
        "example.com",
        "https://example.com/",
        "https://Example.com",
        "https://example.com/page",
        "",
    ):
        with pytest.raises(RedilateError, match="not of the form"):
            check_origins([wrong])


def test_openais_input_fidelity_and_empty_fields_of_a_form_are_taken(served: Served):
    empty = dict.fromkeys(("size", "seed", "n", "quality", "strength", "negative_prompt", "mask"), "")
    assert edit(served, **empty).status_code == 200
    answer = served.openai.images.edit(
        image=("a.png", picture()), prompt="x", input_fidelity="high", extra_body={"steps": 2}
    )
    assert answer.data
    assert edit(served, input_fidelity="most").json()["error"]["param"] == "input_fidelity"


def test_faults_of_a_body_are_told_in_words(served: Served):
    kind = {"Content-Type": "application/json"}
    error = served.http.post("/v1/images/generations", content=b"{oops", headers=kind).json()["error"]
    assert error["message"].startswith("the body is not JSON at character 1: ") and error["param"] is None
    text = {"image": (None, "https://example.com/a.png"), "prompt": (None, "x")}
    error = served.http.post("/v1/images/edits", files=text).json()["error"]
    assert "a file is needed, and text was sent" in error["message"]
    two = [("image[]", ("a.png", picture())), ("image[]", ("b.png", picture()))]
    assert "2 were sent" in edit(served, files=two).json()["error"]["message"]


def test_steps_that_the_scheduler_cannot_take_are_a_400_before_drawing(serving: Serving, tiny: Any):
    with serving(tiny, steps=2000) as served:
        error = served.draw(steps=1001).json()["error"]
        assert (
            error["code"] == "invalid_value" and "EulerDiscreteScheduler cannot take 1001" in error["message"]
        )
