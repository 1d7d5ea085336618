import json

import pytest
import torch
from PIL import Image

from redilate.errors import RedilateError
from redilate.evaluation import pictures
from redilate.evaluation.pictures import find, fingerprint
from redilate.evaluation.run import Study, plan_tasks, run_study
from redilate.plans.plan import Plan
from tests.models import tiny_sdxl

_PLAN = Plan(
    dilation={"mid_block.resnets.0.conv1": (2.0, 2.0)},
    until=0.5,
    dispersed=frozenset({"mid_block.resnets.0.conv1"}),
)
_STUDY = Study(
    prompts=["red apple", "Fox!"], sizes=[(512, 256), (256, 384)], count=3, plans={"mid-only": _PLAN}, steps=2
)


@pytest.fixture(scope="module")
def pipe():
    return tiny_sdxl()


@pytest.fixture(scope="module")
def results(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    run_study(_STUDY, pipe, folder, "tiny")
    return folder


def test_every_prompt_is_drawn_natively_and_by_every_method_at_every_size(results):
    drawn = sorted(path.relative_to(results).as_posix() for path in results.rglob("0*.png"))
    names = ["000-red-apple.png", "001-fox.png", "002-red-apple.png"]
    folders = ["native-256x256"] + [
        f"{s}/{m}" for s in ("256x384", "512x256") for m in ("direct", "mid-only", "redilate")
    ]
    assert drawn == sorted(f"{folder}/{name}" for folder in folders for name in names)
    with Image.open(results / "256x384" / "mid-only" / "001-fox.png") as image:
        assert image.size == (256, 384)


def test_methods_draw_differently_and_seeds_too(results):
    def pixels(path: str) -> bytes:
        with Image.open(results / path) as image:
            return image.tobytes()

    seen = [pixels(f"512x256/{method}/000-red-apple.png") for method in ("direct", "mid-only", "redilate")]
    assert len({*seen, pixels("512x256/direct/002-red-apple.png")}) == 4


def test_the_reports_have_a_row_for_each_size_and_method(results):
    content = json.loads((results / "study.json").read_text())
    assert [(row["size"], row["method"], row["pictures"]) for row in content["summary"]] == [
        (size, method, 3) for size in ("512x256", "256x384") for method in ("direct", "redilate", "mid-only")
    ]
    assert len(content["pictures"]) == 18
    assert all(one["seconds"] > 0 for one in content["pictures"])
    assert content["settings"]["native size"] == "256x256"
    assert set(content["settings"]["plans"]) == {
        f"{m} {s}" for m in ("redilate", "mid-only") for s in ("512x256", "256x384")
    }
    assert "| mid-only |" in (results / "study.md").read_text()
    assert {path.name for path in results.glob("sheet-*.png")} == {"sheet-512x256.png", "sheet-256x384.png"}
    assert not list(results.rglob("*.part"))


def test_a_killed_study_goes_on_and_makes_only_what_is_missing(pipe, results, monkeypatch):
    before = (results / "study.json").read_text()
    lost = results / "512x256" / "direct" / "001-fox.png"
    kept = {path: path.stat().st_mtime_ns for path in results.rglob("0*.png") if path != lost}
    with Image.open(lost) as image:
        pixels = image.tobytes()
    lost.unlink()
    calls = []
    generate = pictures.generate
    monkeypatch.setattr(
        pictures, "generate", lambda *args, **kwargs: calls.append(kwargs) or generate(*args, **kwargs)
    )
    progress = []
    run_study(_STUDY, pipe, results, "tiny", lambda *event: progress.append(event))
    assert [(call["width"], call["height"], call["seed"], call["method"]) for call in calls] == [
        (512, 256, 1, "direct")
    ]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with Image.open(lost) as image:
        assert image.tobytes() == pixels
    first, again = json.loads(before), json.loads((results / "study.json").read_text())
    for row in (*first["summary"], *again["summary"], *first["pictures"], *again["pictures"]):
        del row["seconds"]
    assert first == again
    assert progress[0] == ("drawing", "direct 512x256", 0, 1)
    assert progress[-1] == ("measuring", "measuring", 3, 3)


def test_an_interrupted_picture_leaves_nothing_behind(pipe, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_study(Study(["fox"], [(256, 256)], count=1, methods=["direct"], steps=1), pipe, tmp_path)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    ("change", "named"),
    [({"steps": 3}, "steps"), ({"guidance": 2.0}, "guidance"), ({"prompts": ["red  apple"]}, "prompt")],
)
def test_pictures_of_another_study_are_refused_before_any_work(pipe, results, change, named, monkeypatch):
    monkeypatch.setattr(pictures, "generate", None)
    other = Study(**{**vars(_STUDY), **change})
    with pytest.raises(RedilateError, match=f"was made with another {named}"):
        run_study(other, pipe, results)


def test_another_plan_and_other_weights_are_refused(pipe, results):
    other = Study(**{**vars(_STUDY), "plans": {"mid-only": _PLAN.model_copy(update={"until": 0.4})}})
    with pytest.raises(RedilateError, match="another plan"):
        run_study(other, pipe, results)
    retrained = tiny_sdxl(seed=1)
    assert fingerprint(retrained) != fingerprint(pipe) == fingerprint(tiny_sdxl())
    with pytest.raises(RedilateError, match="another model"):
        run_study(_STUDY, retrained, results)


def test_the_fingerprint_changes_with_the_scheduler_and_the_precision(pipe):
    from diffusers import DDIMScheduler

    other = tiny_sdxl()
    other.scheduler = DDIMScheduler.from_config(other.scheduler.config)
    assert fingerprint(other) != fingerprint(pipe) != fingerprint(tiny_sdxl().to(torch.bfloat16))


def test_a_picture_from_elsewhere_is_not_taken_for_one_of_the_study(pipe, tmp_path):
    task = plan_tasks(_STUDY, pipe, tmp_path)[0][0]
    task.path.parent.mkdir()
    Image.new("RGB", (256, 256)).save(task.path)
    with pytest.raises(RedilateError, match="is not a picture of a study"):
        find(task.request, task.path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": []}, "0 prompts"),
        ({"sizes": []}, "at least one size"),
        ({"methods": [], "plans": {}}, "one method"),
        ({"methods": ["magic"]}, "unknown method 'magic'; known: direct, redilate"),
        ({"plans": {"native": _PLAN}}, "cannot be called 'native'"),
        ({"plans": {"../up": _PLAN}}, "cannot be called '../up'"),
        ({"sizes": [(500, 500)]}, "500"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(pipe, tmp_path, change, said):
    with pytest.raises(RedilateError, match=said):
        run_study(Study(**{**vars(_STUDY), **change}), pipe, tmp_path)
    assert not list(tmp_path.iterdir())
