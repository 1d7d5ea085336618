"""A folder of pictures lives through being killed at any moment, and never mixes two batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from redilate import RedilateError
from redilate.batch.store import FAILURES, MANIFEST, Store
from redilate.batch.tasks import Fault, Task

SETTINGS = {"model": "bundled", "steps": 4}
APPLE = Task("apple", 1, "a red apple", 5, 256, 256, 4, 3.0, None)
PEAR = Task("pear", 2, "a pear", 6, 256, 256, 4, 3.0, None)
Open = Callable[..., Store]


def picture(task: Task) -> bytes:
    """A file that holds its settings: here they are all that it holds."""
    return json.dumps({"task": {"digest": task.digest}}).encode()


def read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RedilateError(f"{path} carries no settings") from error


@pytest.fixture
def open_store(tmp_path: Path) -> Open:
    """Opens the one folder of the test."""

    def open_store(settings: dict = SETTINGS, *, writing: bool = True) -> Store:
        return Store(tmp_path / "out", settings, read, writing=writing)

    return open_store


def test_what_was_kept_is_there_in_the_next_run(open_store: Open):
    with open_store() as store:
        assert not store.has(APPLE)
        store.keep(APPLE, picture(APPLE), 1.5)
        assert store.has(APPLE)
    with open_store() as store:
        assert store.has(APPLE) and not store.has(PEAR)
        assert store.path(APPLE).read_bytes() == picture(APPLE)
        (line,) = store.records()
    assert (line["id"], line["prompt"], line["file"], line["seconds"]) == (
        "apple",
        "a red apple",
        "apple.png",
        1.5,
    )


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_torn_by_a_kill_is_cut_off_and_its_picture_known_by_itself(open_store: Open, cut: int):
    with open_store() as store:
        for task in (APPLE, PEAR):
            store.keep(task, picture(task), 1.0)
        manifest = store.folder / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-cut])
    with open_store() as store:
        assert [line["id"] for line in store.records()] == ["apple"]
        assert store.has(PEAR)
    assert [json.loads(line)["id"] for line in manifest.read_text().splitlines()] == ["apple", "pear"]


def test_a_picture_half_written_by_a_kill_does_not_count(open_store: Open):
    with open_store() as store:
        store.keep(APPLE, picture(APPLE), 1.0)
        half = store.folder / ".pear.png.tmp"
        half.write_bytes(b"half")
        assert not store.has(PEAR)
        store.keep(PEAR, picture(PEAR), 1.0)
        assert not half.exists()


def test_a_picture_that_was_deleted_is_missing_and_its_later_line_holds(open_store: Open):
    with open_store() as store:
        store.keep(APPLE, picture(APPLE), 1.0)
        store.path(APPLE).unlink()
        assert not store.has(APPLE)
        store.keep(APPLE, picture(APPLE), 2.0)
        store.keep(PEAR, picture(PEAR), 3.0)
        table = parquet.read_table(store.write_parquet()).to_pylist()
    assert [(row["id"], row["seconds"]) for row in table] == [("apple", 2.0), ("pear", 3.0)]
    assert table[0]["digest"] == APPLE.digest


def test_the_manifest_as_parquet_has_all_that_its_lines_have(open_store: Open):
    with open_store() as store:
        store.keep(replace(APPLE, strength=0.4), picture(APPLE), 1.0)
        table = parquet.read_table(store.write_parquet()).to_pylist()
        assert table == list(store.records()) and table[0]["strength"] == 0.4


def test_another_prompt_under_the_same_id_is_refused_and_the_picture_stays(open_store: Open):
    with open_store() as store:
        store.keep(APPLE, picture(APPLE), 1.0)
        with pytest.raises(RedilateError, match="another prompt, seed or size"):
            store.has(replace(APPLE, prompt="a green apple"))


def test_a_file_that_is_no_picture_of_ours_is_never_overwritten(open_store: Open):
    with open_store() as store:
        store.path(APPLE).write_bytes(b"a photograph")
        with pytest.raises(RedilateError, match="no settings"):
            store.has(APPLE)


def test_other_settings_are_refused_and_named(open_store: Open):
    with open_store():
        pass
    with pytest.raises(RedilateError, match="with steps 4 and not 9"), open_store(SETTINGS | {"steps": 9}):
        pass


def test_a_folder_that_another_run_writes_to_is_refused_and_may_be_looked_at(open_store: Open):
    with open_store() as store:
        store.keep(APPLE, picture(APPLE), 1.0)
        with pytest.raises(RedilateError, match="another batch"), open_store():
            pass
        with open_store(writing=False) as looking:
            assert looking.has(APPLE)
    with open_store() as store:
        assert store.has(APPLE)


def test_looking_makes_and_changes_nothing(open_store: Open, tmp_path: Path):
    with open_store(writing=False) as store:
        assert not store.has(APPLE)
    assert list(tmp_path.iterdir()) == []


def test_failures_are_those_of_the_last_run(open_store: Open):
    for cause in ("first", "second"):
        with open_store() as store:
            store.fail(Fault(3, cause, "plum"))
        lines = (store.folder / FAILURES).read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"row": 3, "cause": cause, "id": "plum"}]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    for folder, cause in {
        tmp_path / "file": "is a file",
        tmp_path / "no" / "out": "there is no folder",
    }.items():
        with pytest.raises(RedilateError, match=cause), Store(folder, SETTINGS, read):
            pass
