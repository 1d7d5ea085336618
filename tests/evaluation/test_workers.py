import os
import signal
from functools import partial

import pytest

from redilate.batch.local import run
from redilate.errors import RedilateError
from redilate.evaluation import pictures
from redilate.evaluation.pictures import draw, find
from redilate.evaluation.tasks import Study, plan_tasks
from tests.models import tiny_sdxl

_STUDY = Study(["red apple", "fox"], [(256, 384)], count=2, methods=["redilate"], steps=1)


@pytest.fixture(scope="module")
def pipe():
    return tiny_sdxl()


def test_workers_draw_the_same_pictures_as_this_process(pipe, tmp_path):
    pixels, events = {}, []
    for where, drawn_by in (("here", None), ("there", partial(run, make_pipe=_tiny, workers=2, threads=1))):
        tasks = [task for case in plan_tasks(_STUDY, pipe, tmp_path / where) for task in case]
        draw(pipe, tasks, lambda *event, log=events: log.append(event), drawn_by)
        pixels[where] = [find(task.request, task.path).image.tobytes() for task in tasks]
        assert events[-1] == ("drawing", events[-1][1], 4, 4)
        assert all(0 <= done <= total for _, _, done, total in events)
    assert pixels["here"] == pixels["there"]
    assert len(set(pixels["here"])) == 4


def test_a_worker_that_dies_loses_no_picture(pipe, tmp_path):
    tasks = [task for case in plan_tasks(_STUDY, pipe, tmp_path) for task in case]
    draw(
        pipe,
        tasks,
        lambda *_: None,
        partial(run, make_pipe=_dies_once(tmp_path / "died"), workers=1, threads=1),
    )
    assert (tmp_path / "died").exists()
    assert all(find(task.request, task.path) for task in tasks)


def test_what_cannot_be_made_is_named_once_all_else_is_made(pipe, tmp_path, monkeypatch):
    make = pictures.make

    def fails_for_the_fox(pipe, task, *rest):
        if (task.request.prompt, task.request.height) == ("fox", 384):
            raise RuntimeError("no fox")
        return make(pipe, task, *rest)

    monkeypatch.setattr(pictures, "make", fails_for_the_fox)
    tasks = [task for case in plan_tasks(_STUDY, pipe, tmp_path) for task in case]
    with pytest.raises(RedilateError, match=r"^1 of 4 .*256x384/redilate/001-fox.png: RuntimeError: no fox"):
        draw(pipe, tasks, lambda *_: None)
    assert [find(task.request, task.path) is None for task in tasks] == [False, False, False, True]


def _tiny(device):
    return tiny_sdxl()


class _dies_once:
    """Makes a pipeline whose first picture kills its process."""

    def __init__(self, trace):
        self._trace = trace

    def __call__(self, device):
        pipe = tiny_sdxl()
        if not self._trace.exists():
            self._trace.touch()
            pipe.unet.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        return pipe
