"""From a file to a folder, with the bundled model: the same pictures for any workers, and memory that does not grow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from redilate import RedilateError
from redilate.apps.commands.batch import png
from redilate.apps.recorded_settings import read_settings
from redilate.batch.batch import Drawn, Tally, draw, draw_missing, missing_tasks, survey
from redilate.batch.local import Outcome, run
from redilate.batch.store import FAILURES, Store
from redilate.batch.tasks import Defaults, Fault, Task
from tests.batch.bundled import load_bundled

DEFAULTS = Defaults(256, 256, steps=1, guidance=3.0)
PROMPTS = ["a red apple", "a green tree", "a blue fish", "a yellow star", "a white house"]
Group = tuple[Task, ...]
Run = Callable[[Iterable[Group]], Generator[Outcome[Group, list[Drawn]]]]


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    """A file of rows as they are, or of prompts."""
    path.write_text(
        "".join(json.dumps({"prompt": row} if isinstance(row, str) else row) + "\n" for row in rows)
    )
    return path


def open_store(folder: Path, *, writing: bool = True) -> Store:
    return Store(folder, {"model": "bundled"}, read_settings, writing=writing)


def runner(workers: int) -> Run:
    """Draws with the bundled model."""
    work = partial(draw, method="direct", model="bundled", encode=png)
    return lambda tasks: run(tasks, load_bundled, work, workers=workers, threads=1)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.fixture(scope="module")
def drawn_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every prompt's picture, drawn one after the other in this process."""
    folder = tmp_path_factory.mktemp("here")
    with open_store(folder / "out") as store:
        draw_missing(write(folder / "prompts.jsonl", *PROMPTS), DEFAULTS, store, runner(0))
    return folder / "out"


@pytest.mark.slow
def test_two_workers_one_of_them_killed_make_the_same_files_in_any_order(drawn_here: Path, tmp_path: Path):
    backwards = write(tmp_path / "prompts.jsonl", *PROMPTS[::-1], *PROMPTS[:2])
    killed = []

    def killing(tasks: Iterable[Group]) -> Generator[Outcome[Group, list[Drawn]]]:
        for outcome in runner(2)(tasks):
            yield outcome
            if not killed:
                # Its next task is with it by now, and half of the others' pictures are made.
                killed.append(outcome.worker)
                os.kill(outcome.worker or 0, signal.SIGKILL)

    with open_store(tmp_path / "out") as store:
        tally = draw_missing(backwards, DEFAULTS, store, killing)
        assert Counter(line["id"] for line in store.records()).most_common(1)[0][1] == 1
    assert (tally.drawn, tally.failed, tally.repeated) == (5, 0, 2)
    assert pictures(tmp_path / "out") == pictures(drawn_here)


def test_a_rerun_draws_what_is_missing_and_nothing_twice(drawn_here: Path, tmp_path: Path):
    prompts = write(tmp_path / "prompts.jsonl", *PROMPTS)
    before = pictures(drawn_here)
    lost = drawn_here / min(before)
    lost.unlink()
    with open_store(drawn_here) as store:
        tally = draw_missing(prompts, DEFAULTS, store, runner(0))
    assert (tally.drawn, tally.present) == (1, 4)
    assert pictures(drawn_here) == before


def test_a_picture_says_how_to_make_it_again_and_a_lost_manifest_is_made_from_it(
    drawn_here: Path, tmp_path: Path
):
    prompts = write(tmp_path / "prompts.jsonl", *PROMPTS)
    (drawn_here / "manifest.jsonl").unlink()
    with open_store(drawn_here) as store:
        assert survey(prompts, DEFAULTS, store, print).present == 5
        for line in store.records():
            settings = read_settings(drawn_here / line["file"])
            assert {name: settings[name] for name in ("prompt", "seed", "steps", "guidance")} == {
                name: line[name] for name in ("prompt", "seed", "steps", "guidance")
            }


def test_bad_rows_are_listed_with_their_cause_and_the_others_drawn(drawn_here: Path, tmp_path: Path):
    rows = [
        {"prompt": PROMPTS[0]},
        {"prompt": "a", "width": 250, "height": 256},
        {"prompt": "a", "id": "x"},
        {"prompt": "b", "id": "X"},
        {"id": "y"},
    ]
    prompts = write(tmp_path / "prompts.jsonl", *rows)
    faults: list[Fault] = []
    tally = Tally()
    with open_store(drawn_here) as store:
        missing = list(missing_tasks(prompts, DEFAULTS, store, tally, faults.append))
    assert [task.id for task in missing] == ["x"]
    assert (tally.rows, tally.present, tally.missing, tally.failed) == (5, 1, 1, 3)
    assert [(fault.row, fault.id) for fault in faults] == [(2, None), (4, "X"), (5, None)]
    assert faults[1].cause == "id 'X': row 3 has it ('x') for another picture"


def test_what_a_worker_cannot_draw_is_listed_and_tried_again_by_the_next_run(tmp_path: Path):
    prompts = write(tmp_path / "prompts.jsonl", {"prompt": PROMPTS[0], "id": "apple"})
    work = partial(draw, method="no such method", model="bundled", encode=png)
    for _ in range(2):
        with open_store(tmp_path / "out") as store:
            tally = draw_missing(
                prompts, DEFAULTS, store, lambda tasks: run(tasks, load_bundled, work, workers=0)
            )
        assert (tally.missing, tally.drawn, tally.failed) == (1, 0, 1)
        (line,) = (tmp_path / "out" / FAILURES).read_text().splitlines()
        assert json.loads(line)["id"] == "apple" and "no such method" in json.loads(line)["cause"]


@pytest.mark.parametrize("most", [1, 8])
def test_several_pictures_of_a_row_and_more_of_them_by_a_later_run(
    drawn_here: Path, tmp_path: Path, most: int
):
    prompts = write(tmp_path / "prompts.jsonl", PROMPTS[0], {"prompt": PROMPTS[1], "count": 3})
    with open_store(tmp_path / "out") as store:
        tally = draw_missing(prompts, DEFAULTS, store, runner(0), most)
    assert (tally.rows, tally.missing, tally.drawn) == (2, 4, 4)
    first = {
        name: picture for name, picture in pictures(drawn_here).items() if "apple" in name or "tree" in name
    }
    made = pictures(tmp_path / "out")
    assert {name: made[name] for name in first} == first  # what each row gives without a count
    assert len(made) == 4 and len(set(made.values())) == 4
    with open_store(tmp_path / "out") as store:
        lines = {line["id"]: line["seed"] for line in store.records()}
        tree = min(name for name in lines if "tree" in name)
        assert [lines[f"{tree}-{place}"] - lines[tree] for place in (2, 3)] == [1, 2]
        # One of three is lost: it alone is drawn again, the same.
        (tmp_path / "out" / f"{tree}-2.png").unlink()
        tally = draw_missing(prompts, replace(DEFAULTS, count=2), store, runner(0), most)
    assert (tally.present, tally.drawn) == (3, 2)  # the apple has two now; a row's own count goes first
    assert {name: pictures(tmp_path / "out")[name] for name in made} == made


def test_a_file_without_a_prompt_that_can_be_drawn_is_refused(tmp_path: Path):
    store = open_store(tmp_path / "out", writing=False)
    with store, pytest.raises(RedilateError, match="has no prompts"):
        survey(write(tmp_path / "none.jsonl"), DEFAULTS, store, print)
    with store, pytest.raises(RedilateError, match=r"none of the 2 rows .* row 1: it has no prompt"):
        survey(write(tmp_path / "bad.jsonl", {}, {"id": "a"}), DEFAULTS, store, print)


_SURVEY = """
import resource, sys
from pathlib import Path
from redilate.batch.batch import survey
from redilate.batch.store import Store
from redilate.batch.tasks import Defaults
with Store(Path(sys.argv[2]), {}, dict, writing=False) as store:
    tally = survey(Path(sys.argv[1]), Defaults(256, 256), store, print)
print(tally.missing, tally.repeated, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_hundred_thousand_prompts_take_no_more_memory_than_a_thousand(tmp_path: Path):
    peaks = []
    for count in (1_000, 100_000):
        prompts = tmp_path / f"{count}.txt"
        with prompts.open("w") as file:
            file.writelines(
                f"a red apple on a table, number {number // 2} of many\n" for number in range(count)
            )
        # The whole way but the drawing: read, check, hash, tell repetitions, look for each picture.
        command = [sys.executable, "-c", _SURVEY, str(prompts), str(tmp_path / "out")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert (int(said[0]), int(said[1])) == (count // 2, count // 2)
        peaks.append(int(said[2]) * (1 if sys.platform == "darwin" else 1024))
    # The 50,000 tasks alone, kept, would be 40 MB.
    assert peaks[1] - peaks[0] < 16 * 2**20
