"""What a picture says is believed only as far as it can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from redilate import Plan, RedilateError
from redilate.apps.recorded_settings import Recorded

SETTINGS: dict[str, Any] = {
    "prompt": "a red apple",
    "width": 16,
    "height": 8,
    "seed": 7,
    "steps": 25,
    "guidance": 5,
    "method": "redilate",
    "plan": Plan(dilation={"mid_block.resnets.0.conv1": (2, 1.5)}, note="mine").model_dump(mode="json"),
    "versions": {"redilate": "0.1.0"},
}


def holding(folder: Path, text: str) -> Path:
    info = PngInfo()
    info.add_text("redilate", text)
    path = folder / "picture.png"
    Image.new("RGB", (16, 8)).save(path, pnginfo=info)
    return path


def test_a_plan_comes_back_as_a_plan_and_what_is_unknown_is_kept(tmp_path: Path):
    settings = SETTINGS | {"of a later version": {"x": 1}}
    found = Recorded.read(holding(tmp_path, json.dumps(settings)))
    assert found.plan == Plan(dilation={"mid_block.resnets.0.conv1": (2, 1.5)}, note="mine")
    assert found.settings == settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", 5),
        ("prompt", None),
        ("width", "16"),
        ("width", 10**400),
        ("height", -8),
        ("seed", 2**63),
        ("seed", 1.5),
        ("seed", True),
        ("steps", 0),
        ("steps", 10**9),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("guidance", "high"),
        ("method", ["redilate"]),
        ("mode", "triple"),
        ("plan", {"until": 7}),
        ("plan", {"dilation": {"a": "wide"}}),
        ("plan", "default"),
        ("versions", []),
        ("versions", {"torch": 2}),
        ("dtype", "float8"),
        ("strength", 2),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_field(tmp_path: Path, field: str, value: object):
    path = holding(tmp_path, json.dumps(SETTINGS | {field: value}))
    with pytest.raises(RedilateError, match=f"picture.png are damaged: .*{field}") as refusal:
        Recorded.read(path)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize("field", ["prompt", "seed", "versions"])
def test_a_missing_value_is_refused_by_name(tmp_path: Path, field: str):
    settings = {name: value for name, value in SETTINGS.items() if name != field}
    with pytest.raises(RedilateError, match=f"damaged: {field}"):
        Recorded.read(holding(tmp_path, json.dumps(settings)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '{"prompt": "a', "[" * 200_000, '{"a":' * 100_000, "\ufeff{}"]
)
def test_what_is_no_object_in_json_is_refused_in_one_line(tmp_path: Path, text: str):
    with pytest.raises(RedilateError, match="damaged") as refusal:
        Recorded.read(holding(tmp_path, text))
    assert "\n" not in str(refusal.value)


def test_settings_of_another_size_than_the_picture_has_are_refused(tmp_path: Path):
    with pytest.raises(RedilateError, match=r"is 16x8.*of a picture of 32x8.*resized"):
        Recorded.read(holding(tmp_path, json.dumps(SETTINGS | {"width": 32})))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aé🍎\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*SETTINGS, "mode", "dtype", "strength", "negative"]), values))
def test_any_values_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, changed: dict):
    path = holding(tmp_path_factory.getbasetemp(), json.dumps(SETTINGS | changed))
    try:
        found = Recorded.read(path)
    except RedilateError:
        return
    assert json.dumps(found.settings) == json.dumps(SETTINGS | changed)
