"""What a picture records of how it was made."""

from __future__ import annotations

from typing import Any

import torch

from .drawing import Drawing


def settings_of(pipe: Any, drawing: Drawing, *, sequential: bool, index: int | None = None) -> dict[str, Any]:
    """All that is needed to make picture `index` of a drawing again, as plain data; None: the first, with all prompts.

    `sequential`: whether guidance was evaluated one sample at a time, as asked or for want of memory.

    `extra` holds the names of further arguments alone: their values are not plain data.
    """
    request = drawing.request
    prompts = list(dict.fromkeys(drawing.prompts if index is None else drawing.prompts[index : index + 1]))
    return {
        "prompt": (prompts[0] if len(prompts) == 1 else prompts) or "",
        "negative": request.negative,
        "seed": drawing.seeds[index or 0],
        "steps": request.steps,
        "guidance": drawing.guidance,
        "method": request.method,
        **drawing.as_json(),
        **({"sequential": True} if sequential else {}),
        **({"windows": request.windows} if request.windows is not None else {}),
        **({"extra": sorted(request.extra)} if request.extra else {}),
        **({"from_picture": request.from_picture} if request.image is not None else {}),
        "scheduler": type(pipe.scheduler).__name__,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions that a picture depends on."""
    import diffusers

    from .. import __version__

    return {"redilate": __version__, "diffusers": diffusers.__version__, "torch": torch.__version__}
