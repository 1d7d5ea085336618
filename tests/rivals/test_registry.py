"""The names of the methods: listed without torch, found or refused."""

import subprocess
import sys

import pytest

from redilate import RedilateError
from redilate.rivals.registry import METHODS, find
from tests.models import tiny_sdxl


def test_the_names_are_known_without_importing_torch():
    script = (
        "import sys; from redilate.rivals.registry import METHODS; "
        "print(*METHODS); print(sorted({'torch', 'diffusers', 'numpy'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [" ".join(METHODS), "[]"]


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(
        RedilateError, match=r"unknown method 'hidifusion'; known: direct, redilate, .*hidiffusion"
    ):
        find("hidifusion")


@pytest.mark.parametrize("name", METHODS)
def test_every_name_draws_a_picture_of_the_size_asked_for_and_reports_its_name(name):
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    seen = []
    made = find(name)(
        pipe,
        "apple",
        width=128,
        height=72,
        seed=3,
        steps=1,
        guidance=3.0,
        on_step=lambda done, total: seen.append((done, total)),
        native_size=64,
    )
    assert made.images[0].size == (128, 72) and made.seeds == [3]
    # The presets are settings of the method redilate.
    method = "redilate" if name in ("strength1", "published", "faithful") else name
    assert (made.settings["method"], made.settings["width"], made.settings["height"]) == (method, 128, 72)
    assert seen[-1][0] == seen[-1][1] == len(seen)
