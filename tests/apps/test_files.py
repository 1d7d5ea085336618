"""Where results go."""

from pathlib import Path

from redilate.apps.metadata import numbered


def test_one_picture_keeps_its_name_and_several_are_numbered_from_one():
    assert numbered(Path("out/apple.png"), 1) == [Path("out/apple.png")]
    assert numbered(Path("out/apple.png"), 2) == [Path("out/apple-1.png"), Path("out/apple-2.png")]
