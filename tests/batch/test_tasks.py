"""A row's own words go before the defaults; its seed follows from its id alone."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import pytest

from redilate import RedilateError
from redilate.batch.tables import Row
from redilate.batch.tasks import Defaults, Fault, Task, check_defaults, seed_of, tasks_of, together

DEFAULTS = Defaults(512, 256, steps=4, guidance=3.0, negative="blur", seed=7)


def task(**fields: Any) -> Task:
    (made,) = tasks_of([Row(1, fields)], DEFAULTS)
    assert isinstance(made, Task), made
    return made


def fault(**fields: Any) -> str:
    (made,) = tasks_of([Row(1, fields)], DEFAULTS)
    assert isinstance(made, Fault), made
    return made.cause


def test_defaults_fill_what_the_row_does_not_say():
    made = task(prompt="a red apple", id="apple")
    assert made == Task("apple", 1, "a red apple", seed_of(7, "apple"), 512, 256, 4, 3.0, "blur")


def test_what_the_row_says_goes_first_in_the_types_of_any_table():
    said = {"seed": 5, "width": 256, "height": 512, "steps": 2, "guidance": 1.5, "negative": "text"}
    expected = Task("9", 1, "a red apple", 5, 256, 512, 2, 1.5, "text")
    assert task(prompt="a red apple", id=9, **said) == expected  # JSON, Parquet
    assert task(prompt="a red apple", id="9", **{k: str(v) for k, v in said.items()}) == expected  # CSV
    # Parquet by pandas: a column of integers with gaps is one of floats, and a gap NaN.
    assert task(prompt="a red apple", id="9", **(said | {"width": 256.0, "seed": 5.0})) == expected
    assert task(prompt="a red apple", width=float("nan"), height=None, negative="").width == 512


def test_the_seed_is_blake2b_of_the_runs_seed_and_the_id():
    by_hand = int.from_bytes(blake2b(b"7\napple", digest_size=4).digest(), "big")
    assert seed_of(7, "apple") == by_hand
    assert len({seed_of(7, "apple"), seed_of(7, "pear"), seed_of(8, "apple")}) == 3


def test_an_id_follows_from_what_the_row_says_and_from_nothing_else():
    first, second = task(prompt="A red apple!"), task(prompt="A red apple!", steps=9)
    assert first.id.startswith("a-red-apple-") and first.id != second.id
    (elsewhere,) = tasks_of([Row(50, {"prompt": "A red apple!"})], Defaults(1024, 1024, steps=30, seed=7))
    assert isinstance(elsewhere, Task)
    # The same name and seed at another size: the pictures of two runs can be compared.
    assert (elsewhere.id, elsewhere.seed) == (first.id, first.seed)
    assert task(prompt="日本").id.isalnum()


def test_the_digest_changes_with_all_that_a_picture_depends_on_and_with_nothing_else():
    base = task(prompt="a red apple", id="x", seed=1)
    same = task(prompt="a red apple", id="y", seed=1)
    other = [
        task(prompt="a red apple", id="x", seed=1, **one)
        for one in ({"steps": 5}, {"guidance": 2}, {"negative": "n"}, {"width": 256, "height": 256})
    ]
    assert base.digest == same.digest
    assert len({base.digest, *(one.digest for one in other)}) == 5


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({}, "it has no prompt"),
        ({"prompt": "  "}, "prompt '  '"),
        ({"prompt": 5}, "prompt 5: Input should be a valid string"),
        ({"prompt": "a", "id": "../a"}, "id '../a'"),
        ({"prompt": "a", "seed": -2}, "seed -2"),
        ({"prompt": "a", "seed": 2**63}, "seed 9223372036854775808"),
        ({"prompt": "a", "steps": 10_001}, "steps 10001"),
        ({"prompt": "a", "width": 250, "height": 256}, "width 250: Input should be a multiple of 8"),
        ({"prompt": "a", "width": 256}, "width and height go together"),
        ({"prompt": "a", "steps": "many"}, "steps 'many'"),
        ({"prompt": "a", "guidance": "inf"}, "guidance 'inf'"),
    ],
)
def test_a_row_that_cannot_be_drawn_says_which_value_is_wrong(fields: dict[str, Any], cause: str):
    assert fault(**fields).startswith(cause)


def test_a_seed_of_minus_one_is_any_and_the_one_that_is_taken_is_known():
    assert task(prompt="a", seed=-1) == task(prompt="a", seed="-1") == task(prompt="a")
    assert task(prompt="a", id="x", seed=-1).seed == seed_of(7, "x")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("Äpfel", "only the letters a to z.*this one has 'Ä'"),
        ("りんご", "only the letters"),
        ("with space", "this one has ' '"),
        ("../up", "this one has '/'"),
        (".hidden", "starts with a letter or a digit"),
        ("a.", "does not end with '.'"),
        ("con", "Windows has a device of this name.*'picture-con' works"),
        ("nul.png", "Windows has a device"),
        ("COM1", "Windows has a device"),
        ("x" * 101, "1 to 100 characters, and this one has 101"),
    ],
)
def test_an_id_that_is_no_files_name_everywhere_is_refused_in_words(name: str, cause: str):
    said = fault(prompt="a", id=name)
    assert said.startswith(f"id {name!r}: an id") or "Windows" in said
    assert re.search(cause, said) and "pattern" not in said


def test_ids_that_only_look_like_devices_are_taken():
    assert [task(prompt="a", id=name).id for name in ("contour", "a.con", "com12", "9")] == [
        "contour", "a.con", "com12", "9",
    ]  # fmt: skip


def test_defaults_are_held_to_the_same_rules():
    check_defaults(DEFAULTS)
    with pytest.raises(RedilateError, match="width 250"):
        check_defaults(Defaults(250, 256))
    with pytest.raises(RedilateError, match="a batch needs a seed of its own"):
        check_defaults(Defaults(256, 256, seed=-1))


def test_a_row_of_several_pictures_has_seeds_and_ids_that_follow_one_another():
    rows = [Row(1, {"prompt": "a", "id": "a", "seed": 5, "count": 3}), Row(2, {"prompt": "b", "id": "b"})]
    found = [(task.id, task.seed) for task in tasks_of(rows, DEFAULTS) if isinstance(task, Task)]
    assert found[:3] == [("a", 5), ("a-2", 6), ("a-3", 7)] and [name for name, _ in found[3:]] == ["b"]
    named = [Row(1, {"prompt": "a"}), Row(2, {"prompt": "a", "count": 2})]
    alone, first, second = tasks_of(named, DEFAULTS)
    assert alone.id == first.id and second.id == f"{first.id}-2"  # a count is no part of a row's name
    (fault,) = tasks_of([Row(1, {"prompt": "a", "seed": 2**63 - 2, "count": 3})], DEFAULTS)
    assert isinstance(fault, Fault) and "works for 3 pictures" in fault.cause
    (fault,) = tasks_of([Row(1, {"prompt": "a", "count": 0})], DEFAULTS)
    assert isinstance(fault, Fault) and "count" in fault.cause


def test_pictures_of_one_row_go_together_and_no_others():
    rows = [
        Row(1, {"prompt": "a", "id": "a", "seed": 1, "count": 5}),
        Row(2, {"prompt": "a", "id": "x", "seed": 6}),  # would follow, but stands in a row of its own
        Row(3, {"prompt": "a", "id": "y", "seed": 9, "count": 3}),
    ]
    tasks = [task for task in tasks_of(rows, DEFAULTS) if isinstance(task, Task)]
    found = [[task.id for task in group] for group in together(tasks, 3)]
    assert found == [["a", "a-2", "a-3"], ["a-4", "a-5"], ["x"], ["y", "y-2", "y-3"]]
    del tasks[1]  # it is there already
    assert [len(group) for group in together(tasks[:4], 8)] == [1, 3]
    assert [len(group) for group in together(tasks, 1)] == [1] * len(tasks)
