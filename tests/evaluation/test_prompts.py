import json

import pytest

from redilate.errors import RedilateError
from redilate.evaluation.inputs import BUNDLED, read_prompts
from redilate.pipelines import loading


def test_the_prompts_in_the_package_are_what_the_bundled_model_knows():
    prompts = read_prompts(BUNDLED)
    assert len(prompts) == len(set(prompts))
    known = json.loads((loading.BUNDLED / "concepts.json").read_text(encoding="utf-8"))
    assert set(prompts) == set(known)


def test_comments_and_blank_lines_are_no_prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("# a comment\nred apple\n\n  fox \n")
    assert read_prompts(path) == ["red apple", "fox"]


def test_a_file_that_is_missing_or_empty_is_refused_by_name(tmp_path):
    with pytest.raises(RedilateError, match=r"cannot read the prompts in .*nowhere\.txt"):
        read_prompts(tmp_path / "nowhere.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(RedilateError, match=r"empty\.txt has no prompts"):
        read_prompts(tmp_path / "empty.txt")
