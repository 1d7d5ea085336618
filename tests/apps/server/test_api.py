"""OpenAI's own client against the server: what it asks, it gets."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import httpx
import openai
import pytest
from PIL import Image, ImageChops, ImageStat

import redilate
from redilate.apps.command_line import PipelineOptions
from redilate.apps.recorded_settings import read_settings
from redilate.generation import resolve as resolving

from .conftest import Served


def opened(data: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(data)))


def png(image: Image.Image) -> tuple[str, bytes, str]:
    out = BytesIO()
    image.save(out, format="PNG")
    return ("picture.png", out.getvalue(), "image/png")


def test_the_model_is_listed_and_found(served: Served):
    assert [model.id for model in served.openai.models.list()] == ["bundled"]
    assert served.openai.models.retrieve("bundled").owned_by == "redilate"
    with pytest.raises(openai.NotFoundError, match="'bundled' is served"):
        served.openai.models.retrieve("owner/other")


def test_a_picture_is_the_one_that_python_draws_and_carries_its_settings(
    served: Served, bundled: Any, tmp_path: Any
):
    answer = served.openai.images.generate(
        prompt="a red apple", model="bundled", size="128x64",
        extra_body={"seed": 7, "steps": 2, "guidance": 2.5, "negative_prompt": "leaf", "method": "direct"},
    )  # fmt: skip
    assert (answer.size, answer.output_format, len(answer.data)) == ("128x64", "png", 1)
    here = redilate.generate(
        bundled,
        "a red apple",
        width=128,
        height=64,
        seed=7,
        steps=2,
        guidance=2.5,
        negative="leaf",
        method="direct",
    ).images[0]
    assert opened(answer.data[0].b64_json).tobytes() == here.tobytes()
    (tmp_path / "a.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
    settings = read_settings(tmp_path / "a.png")
    assert (settings["prompt"], settings["seed"], settings["model"]) == ("a red apple", 7, "bundled")
    assert not {"vae", "lora"} & settings.keys()


def test_a_picture_records_the_autoencoder_and_the_loras_that_the_server_was_given(
    serving: Any, tmp_path: Any
):
    options = PipelineOptions(vae="fp16-fix", lora=["owner/style:0.8"])
    with serving(options=options) as served:
        asked = {"prompt": "a red apple", "size": "64x64", "steps": 1, "method": "direct"}
        answer = served.http.post("/v1/images/generations", json=asked).json()
    (tmp_path / "a.png").write_bytes(base64.b64decode(answer["data"][0]["b64_json"]))
    settings = read_settings(tmp_path / "a.png")
    assert (settings["vae"], settings["lora"]) == ("fp16-fix", ["owner/style:0.8"])


def test_several_pictures_have_seeds_of_their_own_and_each_comes_again_alone(served: Served):
    several = served.draw(n=3, seed=5).json()["data"]
    assert [one["seed"] for one in several] == [5, 6, 7]
    assert served.draw(seed=7).json()["data"] == several[2:]
    assert several[0]["b64_json"] != several[1]["b64_json"]


def test_several_pictures_share_a_batch_where_there_is_a_gpu(
    served: Served, bundled: Any, monkeypatch: pytest.MonkeyPatch
):
    alone = [served.draw(seed=seed).json()["data"][0] for seed in (5, 6)]
    batches: list[int] = []
    hook = bundled.unet.conv_in.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
    monkeypatch.setattr(resolving, "has_own_memory", lambda _: True)
    together = served.draw(n=2, seed=5).json()["data"]
    hook.remove()
    assert batches == [4] and [one["seed"] for one in together] == [5, 6]
    for one, other in zip(together, alone, strict=True):
        pictures = opened(one["b64_json"]), opened(other["b64_json"])
        assert max(high for _, high in ImageChops.difference(*pictures).getextrema()) <= 2


def test_without_a_seed_two_pictures_differ_and_say_their_seeds(served: Served):
    first, second = (served.draw().json()["data"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    assert served.draw(seed=first["seed"]).json()["data"] == [first]


def test_auto_is_the_native_size(served: Served):
    assert served.draw(size="auto").json()["size"] == "256x256"


@pytest.mark.parametrize(("kind", "media"), [("jpeg", "image/jpeg"), ("webp", "image/webp")])
def test_a_url_leads_to_the_picture_in_the_format_asked_for(served: Served, kind: Any, media: str):
    answer = served.openai.images.generate(
        prompt="x", size="64x64", response_format="url", output_format=kind, output_compression=30,
        extra_body={"steps": 1},
    )  # fmt: skip
    assert answer.data[0].b64_json is None
    got = httpx.get(answer.data[0].url)
    assert (got.status_code, got.headers["content-type"]) == (200, media)
    with Image.open(BytesIO(got.content)) as image:
        assert (image.size, image.format) == ((64, 64), kind.upper())


def test_a_file_that_is_not_kept_is_a_404(served: Served):
    for name in ("nope", "..%2f..%2fetc%2fpasswd", "x" * 5000):
        answer = served.http.get(f"/v1/files/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_stream_brings_early_looks_and_then_the_same_picture_as_without(served: Served):
    events = list(
        served.openai.images.generate(
            prompt="x", size="512x64", stream=True, partial_images=2, extra_body={"steps": 4, "seed": 3}
        )
    )
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    # At most native size, and nearer to the picture each time.
    looks = [opened(event.b64_json).convert("L") for event in events]
    assert [look.size for look in looks] == [(256, 32), (256, 32), (512, 64)]
    last = looks[2].resize((256, 32), Image.Resampling.BOX)
    first, second = (sum(ImageChops.difference(look, last).get_flattened_data()) for look in looks[:2])
    assert second < first
    assert events[2].usage.total_tokens == 0
    whole = served.draw(size="512x64", steps=4, seed=3).json()["data"][0]["b64_json"]
    assert events[2].b64_json == whole


def test_a_picture_is_the_one_that_python_draws_and_its_native_picture_comes_early(
    served: Served, bundled: Any, tmp_path: Any
):
    asked = {"steps": 4, "seed": 3}
    events = list(
        served.openai.images.generate(
            prompt="a red apple", size="384x384", stream=True, partial_images=1, extra_body=asked
        )
    )
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    native: list[Image.Image] = []
    here = redilate.generate(
        bundled, "a red apple", width=384, height=384, seed=3, steps=4, guidance=3,
        on_preview=native.append,
    ).images[0]  # fmt: skip
    assert opened(events[0].b64_json).tobytes() == native[0].tobytes()
    assert native[0].size == (256, 256)
    assert opened(events[1].b64_json).tobytes() == here.tobytes()
    (tmp_path / "a.png").write_bytes(base64.b64decode(events[1].b64_json))
    assert len(read_settings(tmp_path / "a.png")["legs"]) == 2


def test_an_edit_starts_from_the_picture_the_more_so_the_less_the_strength(served: Served):
    colour = (200, 40, 40)
    far = {}
    for strength in (0.2, 1.0):
        answer = served.openai.images.edit(
            image=png(Image.new("RGB", (102, 62), colour)),
            prompt="a red apple",
            extra_body={"strength": strength, "steps": 5, "seed": 1},
        )
        image = opened(answer.data[0].b64_json)
        # The upload's own size, to the nearest multiple of 8.
        assert (answer.size, image.size) == ("104x64", (104, 64))
        even = Image.new("RGB", image.size, colour)
        far[strength] = sum(
            sum(pixel) for pixel in ImageChops.difference(image.convert("RGB"), even).get_flattened_data()
        )
    assert far[0.2] < far[1.0] / 2


def test_an_edit_with_a_mask_draws_what_is_transparent_anew_and_keeps_the_rest(served: Served):
    colour = (255, 255, 255)
    mask = Image.new("RGBA", (256, 128), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 128, 128))
    answer = served.openai.images.edit(
        image=png(Image.new("RGB", (256, 128), colour)),
        mask=png(mask),
        prompt="a red apple",
        extra_body={"strength": 1, "steps": 4, "seed": 1},
    )
    image = opened(answer.data[0].b64_json).convert("RGB")
    changed = ImageChops.difference(image, Image.new("RGB", image.size, colour))
    kept, drawn = (ImageStat.Stat(changed.crop(box)).mean for box in ((160, 0, 256, 128), (0, 0, 96, 128)))
    assert max(kept) < 6 and max(drawn) > 4 * max(kept)


def test_an_edit_of_another_size_in_a_list_of_one_streams_too(served: Served):
    events = list(
        served.openai.images.edit(
            image=[png(Image.new("RGBA", (64, 64), (0, 0, 0, 0)))], prompt="x", size="128x64", n=1,
            stream=True, partial_images=1, extra_body={"steps": 4, "strength": 0.5},
        )
    )  # fmt: skip
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert opened(events[1].b64_json).size == (128, 64)


@pytest.mark.parametrize(
    ("asked", "status", "code", "param"),
    [
        ({"prompt": ""}, 400, "invalid_value", "prompt"),
        ({"prompt": None}, 400, "invalid_value", "prompt"),
        ({"size": "63x64"}, 400, "invalid_value", "size"),
        ({"size": "large"}, 400, "invalid_value", "size"),
        ({"size": "4096x4096"}, 400, "invalid_value", "size"),
        ({"size": "9" * 15 + "x8"}, 400, "invalid_value", "size"),
        ({"n": 5}, 400, "invalid_value", "n"),
        ({"n": 0}, 400, "invalid_value", "n"),
        ({"steps": 10**9}, 400, "invalid_value", "steps"),
        ({"seed": -2}, 400, "invalid_value", "seed"),
        ({"guidance": 1e9}, 400, "invalid_value", "guidance"),
        ({"model": "gpt-image-2"}, 404, "model_not_found", "model"),
        ({"background": "transparent"}, 400, "invalid_value", "background"),
        ({"stream": True, "n": 2}, 400, "invalid_value", "n"),
        ({"stream": True, "response_format": "url"}, 400, "invalid_value", "response_format"),
        ({"output_compression": 50}, 400, "invalid_value", "output_compression"),
        ({"output_format": "gif"}, 400, "invalid_value", "output_format"),
        ({"colour": "red"}, 400, "unknown_parameter", "colour"),
        ({"image": "https://example.org/a.png"}, 400, "unknown_parameter", "image"),
        ({"prompt": "🍎" * 5000, "output_format": "jpeg"}, 400, "invalid_value", None),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_as_openai_refuses(
    served: Served, asked: dict, status: int, code: str, param: str | None
):
    answer = served.draw(**asked)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error" and error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"[" * 100_000,
        b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
        b"\xff",
        b'{"prompt": "\\ud800"}',
    ],
)
def test_a_body_that_is_no_request_is_a_400(served: Served, body: bytes):
    answer = served.http.post(
        "/v1/images/generations", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_unknown_paths_and_methods_have_errors_of_the_same_form(served: Served):
    assert served.http.get("/v1/nothing").json()["error"]["code"] == "not_found"
    answer = served.http.get("/v1/images/generations")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def test_metrics_count_requests_and_pictures_and_no_path_that_a_client_made_up(served: Served):
    before = served.metric("redilate_images_total")
    served.draw(n=2)
    assert served.metric("redilate_images_total") == before + 2
    served.http.get("/made/up")
    served.http.request("MADE", "/healthz")
    text = served.http.get("/metrics").text
    assert "made" not in text.lower()
    assert 'redilate_http_requests_total{handler="/v1/images/generations",status="200"}' in text
