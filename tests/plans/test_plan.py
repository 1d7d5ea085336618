"""A plan as data: validated, frozen, JSON both ways, readable."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from redilate import NoiseDamping, Plan, RedilateError

CONV = "down_blocks.1.resnets.0.conv1"
MID = "mid_block.resnets.0.conv1"


@pytest.fixture
def plan():
    return Plan(
        dilation={CONV: (2, 4), MID: (4, 4)},
        until=0.3,
        schedule="progressive",
        noise_damping=NoiseDamping(dilation={MID: (2, 2)}, until=0.5),
        dispersed={CONV, MID},
        note="an example",
    )


def test_dilations_follow_the_noise_level(plan):
    assert plan.dilations(0.99) == {CONV: (2, 4), MID: (4, 4)}
    assert plan.dilations(0.5) == {CONV: (2, 2), MID: (2, 2)}
    assert plan.dilations(0.29) == {CONV: (1, 1), MID: (1, 1)}


def test_the_mild_network_has_its_own_threshold(plan):
    assert plan.mild_dilations(0.99) == {MID: (2, 2)}
    assert plan.mild_dilations(0.49) is None


def test_damping_stops_where_re_dilation_does():
    plan = Plan(dilation={MID: (2, 2)}, until=0.6, noise_damping=NoiseDamping(dilation={}, until=0.2))
    assert plan.mild_dilations(0.61) == {} and plan.mild_dilations(0.59) is None


def test_json_both_ways_is_the_same_plan_and_the_same_bytes(plan, tmp_path):
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    assert list(tmp_path.iterdir()) == [tmp_path / "plan.json"]
    assert Plan.read(tmp_path / "plan.json").model_dump_json() == plan.model_dump_json()


def test_a_plan_cannot_be_changed(plan):
    with pytest.raises(ValidationError):
        plan.until = 0.1


def test_dilations_of_one_are_left_out():
    assert Plan(dilation={CONV: (1, 1)}).is_neutral


@pytest.mark.parametrize(
    "wrong",
    [
        {"dilation": {CONV: (0, 2)}},
        {"dilation": {CONV: (2,)}},
        {"until": 1.5},
        {"schedule": "sudden"},
        {"fractional": "none"},
        {"dilatoin": {}},
        {"dispersion": {"scale": 1}},
        {"dispersion": {"input_size": 2}},
        {"dispersed": [CONV]},
        {"by_channels": [CONV]},
        {"low_passed": [CONV]},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        Plan.model_validate(wrong)


def test_it_prints_as_a_table(plan):
    text = str(plan)
    assert "an example" in text and "progressive" in text and "ND-CFG" in text
    assert "down_blocks.1" in text and "× 2 high, 4 wide" in text
    assert "neutral" in str(Plan())


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "is not a plan"), (b'{"until": 2}', "until"), (b"\xff\xfe", "UTF-8"), (None, "No such file")],
)
def test_a_file_that_is_no_plan_is_refused_in_one_line(tmp_path, content, says):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RedilateError, match=says) as refused:
        Plan.read(path)
    assert "\n" not in str(refused.value)


ATTENTION = "down_blocks.2.attentions.0.transformer_blocks.0.attn1"


def test_those_named_meet_dilations_by_channels_and_the_rest_as_the_plan_says(tmp_path):
    plan = Plan(dilation={CONV: (1.5, 1.5), MID: (1.5, 1.5)}, by_channels={CONV})
    assert plan.fractional_of(CONV) == "channels" and plan.fractional_of(MID) == "taps"
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    assert str(plan).count("by channels") == 1
    assert Plan(fractional="published").fractional_of(MID) == "published"


def test_a_plan_kept_before_there_were_channels_reads_as_it_was(plan):
    kept = plan.model_dump(mode="json")
    assert kept.pop("by_channels") == kept.pop("low_passed") == []
    assert Plan.model_validate(kept) == plan


def test_windows_are_in_force_below_their_noise_level(tmp_path):
    plan = Plan.model_validate({"windows": {"size": {ATTENTION: [8, 6]}, "below": 0.4}})
    assert plan.window_sizes(0.39) == {ATTENTION: (8, 6)} and plan.window_sizes(0.4) == {}
    assert not plan.is_neutral
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    text = str(plan)
    assert "below noise level 0.4" in text and "8 × 6 tokens" in text and "re-dilated" not in text


def test_a_plan_kept_before_there_were_windows_reads_as_it_was(plan):
    kept = plan.model_dump(mode="json")
    assert kept.pop("windows") is None
    assert Plan.model_validate(kept) == plan and plan.window_sizes(0.0) == {}


@pytest.mark.parametrize(
    "windows",
    [{"size": {ATTENTION: [0, 8]}}, {"size": {ATTENTION: [8]}}, {"size": {}, "below": 2}, {"below": 0.5}],
)
def test_windows_that_make_no_sense_are_refused(windows):
    with pytest.raises(ValidationError):
        Plan.model_validate({"windows": windows})


def test_a_file_is_read_as_utf_8_whatever_the_system_s_encoding(tmp_path):
    path = tmp_path / "plan.json"
    Plan(note="naïve").write(path)
    code = f"from redilate.plans.plan import Plan; assert Plan.read({str(path)!r}).note == 'na\\xefve'"
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], env=ascii_only, check=True)
