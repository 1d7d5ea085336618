"""A prompt of any length is read to its end, or the words that are not are named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

import redilate
from redilate import RedilateError
from redilate.pipelines.prompts import _pieces, encode_prompts
from tests.models import tiny_sd15, tiny_sdxl

# The tiny models' tokenizer has a token for each letter: 75 of them fit.
LONG = "a red apple on a wooden table beside a window with a view of the sea and of some small white boats"


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module", params=["sd15", "sdxl", "bundled"])
def pipe(request: pytest.FixtureRequest) -> Any:
    return quiet({"sd15": tiny_sd15, "sdxl": tiny_sdxl, "bundled": redilate.load}[request.param]())


def long_for(pipe: Any) -> str:
    return " ".join([LONG] * 3)


def test_prompts_that_fit_are_handed_on_as_they_are(pipe: Any):
    assert encode_prompts(pipe, "a cat", "a dog") == {"prompt": "a cat", "negative_prompt": "a dog"}
    assert encode_prompts(pipe, ["a", "b"]) == {"prompt": ["a", "b"], "negative_prompt": None}


@pytest.mark.parametrize("negative", [None, "", "a dog"])
def test_of_one_piece_the_embeddings_are_the_pipelines_own(pipe: Any, negative: str | None):
    found = encode_prompts(pipe, "a cat", negative, always=True)
    own = pipe.encode_prompt(
        prompt="a cat",
        device="cpu",
        num_images_per_prompt=1,
        do_classifier_free_guidance=True,
        negative_prompt=negative,
    )
    assert len(found) == len(own)
    assert all(torch.equal(one, other) for one, other in zip(found.values(), own, strict=True))


def test_a_long_prompt_is_its_pieces_one_after_another_and_every_word_counts(pipe: Any):
    text = long_for(pipe)
    pieces = _pieces(pipe, text)
    assert len(pieces) > 1 and " ".join(pieces) == text
    found = encode_prompts(pipe, text)
    for index, piece in enumerate(pieces):
        own = pipe.encode_prompt(
            prompt=piece, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
        )
        window = own[0].shape[1]
        part = slice(index * window, (index + 1) * window)
        assert torch.equal(found["prompt_embeds"][:, part], own[0])
        assert torch.equal(found["negative_prompt_embeds"][:, part], own[1])
        if index == 0 and len(own) == 4:
            assert torch.equal(found["pooled_prompt_embeds"], own[2])
    other = encode_prompts(pipe, text.rsplit(" ", 1)[0] + " ships")
    assert not torch.equal(found["prompt_embeds"], other["prompt_embeds"])


@pytest.mark.parametrize("negative", [None, "short", f"{LONG} {LONG} {LONG} {LONG}"])
def test_the_pipeline_draws_with_what_comes_back(pipe: Any, negative: str | None):
    asked = encode_prompts(pipe, [LONG, f"{LONG} {LONG}"], negative)
    assert asked["prompt_embeds"].shape == asked["negative_prompt_embeds"].shape
    result = pipe(**asked, num_inference_steps=1, height=64, width=64, guidance_scale=3.0, output_type="pt")
    assert result.images.shape[0] == 2 and bool(result.images.isfinite().all())


def test_two_long_prompts_that_differ_at_the_end_give_two_pictures():
    pipe = quiet(tiny_sd15())
    drawn = [
        pipe(
            **encode_prompts(pipe, f"{LONG} {end}"),
            num_inference_steps=2,
            height=64,
            width=64,
            output_type="pt",
            generator=torch.Generator().manual_seed(0),
        ).images
        for end in ("at night", "at noon")
    ]
    assert not torch.equal(*drawn)


def test_a_word_longer_than_the_window_is_cut_between_letters_and_not_lost():
    pipe = tiny_sd15()
    word = "".join(chr(ord("a") + index % 26) for index in range(200))
    pieces = _pieces(pipe, f"one {word} two")
    assert "".join(pieces).replace(" ", "") == f"one{word}two" and max(map(len, pieces)) <= 75
    assert _pieces(pipe, "  ") == [""]


def test_clip_skip_and_the_like_reach_the_encoder():
    pipe = tiny_sdxl()
    plain, skipped = (encode_prompts(pipe, LONG, clip_skip=skip)["prompt_embeds"] for skip in (None, 1))
    assert plain.shape == skipped.shape and not torch.equal(plain, skipped)


def test_where_pieces_cannot_be_taken_the_words_that_are_cut_are_said():
    class Other(StableDiffusionPipeline):
        def encode_prompt(self, device: Any, batch_size: int, prompt: Any = None) -> Any:  # type: ignore[override]
            raise AssertionError("not to be called")

    pipe = Other(**tiny_sd15().components, requires_safety_checker=False)
    told: list[str] = []
    asked = encode_prompts(pipe, f"{'x' * 75}lost words", "short", on_note=told.append)
    assert asked == {"prompt": f"{'x' * 75}lost words", "negative_prompt": "short"}
    (line,) = told
    assert line.startswith("Other reads only the start") and line.endswith("it does not read: lost words")


def test_a_pipeline_without_tokenizers_reads_everything():
    assert encode_prompts(SimpleNamespace(components={}), LONG)["prompt"] == LONG


def test_another_number_of_negative_prompts_is_refused():
    with pytest.raises(RedilateError, match="2 negative prompts for 3 prompts"):
        encode_prompts(tiny_sd15(), ["a", "b", "c"], ["d", "e"])


def test_a_long_second_prompt_in_extra_is_not_cut_in_silence():
    told = []
    redilate.generate(
        quiet(tiny_sdxl()),
        "fox",
        width=64,
        height=64,
        steps=1,
        extra={"prompt_2": f"{LONG} {LONG}"},
        on_note=told.append,
    )
    assert len(told) == 1 and "it does not read:" in told[0] and told[0].endswith("boats")
