"""FreeU: Si et al., "FreeU: Free Lunch in Diffusion U-Net", CVPR 2024, arXiv 2309.11497, as diffusers has it.

The decoder's backbone features are scaled by b, the low frequencies of its skip connections by s; on top of direct
inference, or of re-dilation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from ..errors import RedilateError
from ..generation.generate import generate
from ..generation.run import Generation
from ..pipelines.families import family_of, unet_of

# The authors' values for each family, as diffusers' documentation repeats them.
_PUBLISHED = {
    "sd15": {"s1": 0.9, "s2": 0.2, "b1": 1.5, "b2": 1.6},
    "sd21": {"s1": 0.9, "s2": 0.2, "b1": 1.4, "b2": 1.6},
    "sdxl": {"s1": 0.9, "s2": 0.2, "b1": 1.3, "b2": 1.4},
}


@contextmanager
def freeu(pipe: Any, **factors: float) -> Iterator[dict[str, float]]:
    """A context with diffusers' `enable_freeu` on a pipeline's U-Net; yields the factors.

    Args:
        factors: s1, s2, b1, b2 in place of those published for the family; of an unknown one SDXL's, the mildest.

    Raises:
        RedilateError: for an unknown factor, or a U-Net that diffusers has no FreeU for.
    """
    unet: Any = unet_of(pipe)
    published = _PUBLISHED[family_of(unet) or "sdxl"]
    if unknown := sorted(set(factors) - set(published)):
        raise RedilateError(f"FreeU has the factors {', '.join(published)}, and no {unknown[0]}")
    if not hasattr(unet, "enable_freeu"):
        raise RedilateError(f"diffusers has no FreeU for {type(unet).__name__}")
    before = [
        {name: block.__dict__[name] for name in published if name in vars(block)} for block in unet.up_blocks
    ]
    values = published | factors
    unet.enable_freeu(**values)
    try:
        yield values
    finally:
        for block, kept in zip(unet.up_blocks, before, strict=True):
            for name in published:
                block.__dict__.pop(name, None)
            block.__dict__.update(kept)


def draw(
    pipe: Any,
    prompt: str,
    *,
    method: Literal["direct", "redilate"] = "direct",
    factors: dict[str, float] | None = None,
    **arguments: Any,
) -> Generation:
    """One picture with FreeU on top of `method`; the other arguments are `generation.generate`'s."""
    with freeu(pipe, **(factors or {})) as values:
        made = generate(pipe, prompt, method=method, strength=1, **arguments)
    name = "freeu" if method == "direct" else f"{method}_freeu"
    return replace(made, settings=made.settings | {"method": name, "parameters": values})
