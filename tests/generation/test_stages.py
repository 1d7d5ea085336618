"""The settings of a relay: validated, frozen, kept as JSON."""

import pytest
from pydantic import ValidationError

from redilate import Plan, Relay, Stage


def test_a_share_of_the_steps_is_rounded_and_at_least_two_where_there_are_two():
    assert [Stage(share=0.25).steps(asked) for asked in (1, 2, 4, 8, 25, 50)] == [1, 2, 2, 2, 6, 12]
    assert [Stage(share=0.04, least_steps=1).steps(asked) for asked in (1, 2, 25, 50)] == [1, 1, 1, 2]


def test_the_last_stage_is_repeated():
    relay = Relay(stages=(Stage(noise=0.1), Stage(noise=0.2)))
    assert [relay.stage(index).noise for index in range(4)] == [0.1, 0.2, 0.2, 0.2]


def test_a_relay_survives_json_with_a_plan_inside():
    relay = Relay(stages=(Stage(plan=Plan(dilation={"mid_block.resnets.0.conv1": (2, 2)}), tie=0.5),))
    assert Relay.model_validate_json(relay.model_dump_json()) == relay


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": 0},
        {"noise": 1},
        {"share": 0},
        {"least_steps": 0},
        {"share": 1.5},
        {"guidance": -1},
        {"tie": 1.1},
        {"tie_period": 0.5},
        {"noise_floor": -0.1},
        {"plan": "all"},
        {"enlarge": "nearest"},
        {"colour": "grey"},
        {"strength": 0.5},
    ],
    ids=str,
)
def test_what_no_stage_can_have_is_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Stage.model_validate(wrong)


def test_a_relay_needs_a_stage_and_a_scale_above_one():
    with pytest.raises(ValidationError, match="stages"):
        Relay(stages=())
    with pytest.raises(ValidationError, match="largest_scale"):
        Relay(largest_scale=1.0)


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Stage().noise = 0.5  # type: ignore[misc]
