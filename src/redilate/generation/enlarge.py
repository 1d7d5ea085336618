"""A picture that the user has, enlarged by the stages of a relay."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..decoding.decode import OnProgress
from ..errors import RedilateError
from ..pipelines.families import Size, latent_scale
from ..plans.plan import Plan
from .generate import Generation, OnStep, settings_of
from .patched import Method
from .photos import check_pixels, padded, read_photo
from .relay import Runner
from .stages import Relay, Stage

# The prompt's say is the caller's to weigh: here no earlier stage has followed it.
_GUIDED = Relay(stages=(Stage(guidance=None),))


def enlarge(
    pipe: Any,
    image: Image.Image | str | Path,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    prompt: str | None = None,
    negative: str | None = None,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 5.0,
    method: Method = "redilate",
    plan: Plan | None = None,
    relay: Relay | None = None,
    native_size: int | Size | None = None,
    extra: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    on_decode: OnProgress | None = None,
) -> Generation:
    """Enlarge a picture of any size and ratio: what a relay does after its native picture.

    The result has exactly the size asked for. Latents have whole cells of 8 pixels only, so the picture's right and
    bottom edges are continued to the next multiple, and what was added is cut off at the end.

    Args:
        pipe: a diffusers pipeline with a U-Net that has an image-to-image counterpart; it is left as it was.
        image: a Pillow picture or the path of one. Upright by its EXIF, what is transparent on white, at most
            `photos.MAX_PIXELS`.
        scale: how many times its sides, above 1; or
        width, height: in pixels, one or both; the other follows from the picture's ratio, which is kept.
        prompt: what the picture shows; None: the network goes by the picture alone, without guidance.
        negative, seed, steps, guidance, method, plan, relay, native_size, extra: as for `generate`; a relay of your own
            must leave `guidance` to None for the `guidance` given here to count.
        on_step: called after each denoising step with (steps done, steps in all).
        on_decode: as for `generate`.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    photo = read_photo(image)
    target = _target(photo, scale, width, height)
    if steps < 1:
        raise RedilateError(f"steps is {steps}; at least 1 is needed")
    unit = latent_scale(pipe)
    work = tuple(-(-side // unit) * unit for side in target)
    # Both axes alike: the picture keeps its ratio, and the edge is continued as far as the last cells reach.
    start = padded(
        photo, *(side * have / side_of for side, have, side_of in zip(work, photo.size, target, strict=True))
    )
    guided = prompt is not None or negative is not None
    runner = Runner(
        pipe,
        relay or _GUIDED,
        (start.height, start.width),
        (work[1], work[0]),
        steps=steps,
        guidance=guidance if guided else 1.0,
        method=method,
        plan=plan,
        native_size=native_size,
        extra=extra,
    )
    runner.choose_sequential()
    started = time.monotonic()
    made = runner.run(
        start,
        prompt=prompt or "",
        negative=negative,
        seed=seed,
        on_step=None if on_step is None else lambda done: on_step(done, runner.steps),
        on_decode=on_decode,
    )
    settings = settings_of(
        pipe,
        runner.plan,
        extra,
        prompt=prompt or "",
        negative=negative,
        width=target[0],
        height=target[1],
        enlarged_from=[photo.width, photo.height],
        seed=seed,
        steps=steps,
        guidance=guidance if guided else 1.0,
        method=method,
        mode="enlarge",
        relay=runner.as_json(),
        **({"sequential": True} if runner.sequential else {}),
    )
    return Generation([made.crop((0, 0, *target))], [seed], runner.plan, time.monotonic() - started, settings)


def _target(
    photo: Image.Image, scale: float | None, width: int | None, height: int | None
) -> tuple[int, int]:
    """The size asked for, (width, height)."""
    if (scale is None) == (width is None and height is None):
        raise RedilateError("say how large: either scale, such as 4, or width and height")
    if scale is None:
        # One side's scale, or the other's; with both, they must agree within the rounding of a pixel.
        scale = width / photo.width if width is not None else (height or 0) / photo.height
    if not 1 < scale < float("inf"):
        raise RedilateError(
            f"a scale of {scale:g} does not enlarge a picture of {photo.width}x{photo.height}; above 1 does"
        )
    wide, high = round(photo.width * scale), round(photo.height * scale)
    if height is not None and width is not None and abs(height - high) > 1:
        raise RedilateError(
            f"{width}x{height} has not the ratio of the picture, {photo.width}x{photo.height}: {width}x{high} has; "
            "crop the picture first for another ratio"
        )
    found = width or wide, height or high
    check_pixels(*found, "an enlarged picture")
    return found
