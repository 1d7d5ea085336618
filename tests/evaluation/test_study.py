import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redilate.evaluation.study import app, read_prompts
from redilate.plans.plan import Plan

_PROMPTS = Path(__file__).parents[2] / "benchmarks" / "prompts.txt"


def _run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_committed_prompts_are_64_different_ones():
    prompts = read_prompts(_PROMPTS)
    assert len(prompts) == len(set(prompts)) == 64


def test_the_command_draws_counts_and_prints_the_table(tiny_pipeline_folder, tmp_path):
    prompts, plan, out = tmp_path / "prompts.txt", tmp_path / "plan.json", tmp_path / "results"
    prompts.write_text("# a comment\nred apple\n\n  fox \n")
    assert read_prompts(prompts) == ["red apple", "fox"]
    Plan(dilation={"mid_block.resnets.0.conv1": (2.0, 2.0)}).write(plan)
    result = _run(
        *("--model", tiny_pipeline_folder, "--prompts", prompts, "--out", out, "--sizes", "384x256,384x256"),
        *("--methods", "direct", "--plan", f"mid={plan}", "--count", 1, "--steps", 1),
    )
    assert result.exit_code == 0, result.stderr
    assert re.search(r"^384x256 mid: \d+% repeated, distance \d\.\d{3}$", result.stdout, re.MULTILINE)
    assert result.stdout.splitlines()[-1] == str(out / "study.md")
    assert len(list(out.rglob("000-red-apple.png"))) == 3
    assert (out / "sheet-384x256.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "512"], "size '512' is not of the form WxH"),
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--plan", "plan.json"], "is not of the form NAME=PLAN.json"),
        (["--plan", "a=nowhere.json"], "cannot read the plan nowhere.json"),
        (["--prompts", "nowhere.txt"], "cannot read the prompts in nowhere.txt"),
        (["--model", "./nowhere"], "there is no model at ./nowhere"),
        (["--out", __file__], f"cannot write to {__file__}"),
    ],
)
def test_a_mistake_ends_with_one_line_and_code_2(arguments, said, tmp_path):
    result = _run("--prompts", _PROMPTS, "--out", tmp_path / "results", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
