"""Which row of the table of defaults (`plans.defaults`) holds for a pipeline."""

from __future__ import annotations

import re
from typing import Any

from ..plans.defaults import Family
from .families import family_of, unet_of

# The names that few-step checkpoints are published under.
_DISTILLED_NAME = re.compile(r"(?i)(?<![a-z])(turbo|lightning|lcm|hyper-?sd\w*|hyper|dmd2?|tcd)(?![a-z])")
_DISTILLED_SCHEDULERS = {"LCMScheduler", "TCDScheduler"}
_BUNDLED_TEXT_WIDTH = 192


def defaults_family(pipe: Any) -> Family:
    """The row for a pipeline or a U-Net, by structure; a distilled model also by its scheduler, name or adapters."""
    unet = unet_of(pipe)
    config: Any = unet.config
    if _is_distilled(pipe, unet):
        return "distilled"
    if getattr(config, "cross_attention_dim", None) == _BUNDLED_TEXT_WIDTH:
        return "bundled"
    return family_of(unet) or "unknown"


def _is_distilled(pipe: Any, unet: Any) -> bool:
    # An LCM network is told its guidance weight by an embedding of its own.
    if getattr(unet.config, "time_cond_proj_dim", None) is not None:
        return True
    if type(getattr(pipe, "scheduler", None)).__name__ in _DISTILLED_SCHEDULERS:
        return True
    names = [str(getattr(getattr(one, "config", None), "_name_or_path", None) or "") for one in (pipe, unet)]
    names += list(getattr(unet, "peft_config", {}))
    return any(_DISTILLED_NAME.search(name) for name in names)
