import base64
import io
import json
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from redilate.errors import RedilateError
from redilate.evaluation import pictures
from redilate.evaluation.pictures import find
from redilate.evaluation.run import run_study
from redilate.evaluation.tasks import Study, Variation, fingerprint, plan_tasks
from redilate.plans.plan import Plan
from tests.evaluation.drawings import discs, noisy
from tests.models import tiny_sdxl

_PLAN = Plan(
    dilation={"mid_block.resnets.0.conv1": (2.0, 2.0)},
    until=0.5,
    dispersed=frozenset({"mid_block.resnets.0.conv1"}),
)
_STUDY = Study(
    prompts=["red apple", "Fox!"],
    sizes=[(512, 256), (256, 384)],
    count=3,
    variations={"mid-only": Variation(strength=1, plan=_PLAN)},
    steps=2,
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
    content = json.loads((results / "results.json").read_text())
    assert [(row["size"], row["method"], row["pictures"]) for row in content["summary"]] == [
        (size, method, 3)
        for size in ("512x256", "256x384")
        for method in ("native", "direct", "redilate", "mid-only")
    ]
    assert len(content["pictures"]) == 24
    # Two steps, each for the prompt and for the empty one; where there is a large leg, its steps too.
    one_leg = [one for one in content["pictures"] if one["method"] != "redilate"]
    assert one_leg and all(one["values"]["evaluations"] == 4 for one in one_leg)
    assert all(one["values"]["seconds"] > 0 < one["values"]["memory"] for one in content["pictures"])
    assert "fid_crop_b" in content["summary"][1]["values"]
    assert "fid_r" not in content["summary"][1]["values"]
    assert content["settings"]["native size"] == "256x256"
    assert set(content["settings"]["drawings"]) == {
        f"{method} {size}" for method in ("direct", "redilate", "mid-only") for size in ("512x256", "256x384")
    }
    assert "| mid-only |" in (results / "results.md").read_text()
    for kind in ("sheet", "plot", "curve"):
        assert {path.name for path in results.glob(f"{kind}-*.png")} == {
            f"{kind}-512x256.png",
            f"{kind}-256x384.png",
        }
    assert not list(results.rglob("*.tmp"))


def test_the_page_shows_every_picture_and_needs_no_other_file(results):
    page = Page()
    page.feed((results / "results.html").read_text())
    # Three prompts, native and three methods, two sizes; and two plots and curves.
    assert len(page.images) == 3 * 4 * 2 + 4
    for source in page.images:
        kind, content = source.split(",", 1)
        assert kind in ("data:image/webp;base64", "data:image/png;base64")
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            image.load()
    assert page.links == []
    assert page.text.count("mid-only") == 2 * 4 + 2
    assert "All 3 prompts" in page.text


class Page(HTMLParser):
    """The pictures, the links to anything outside, and the text of a page."""

    def __init__(self):
        super().__init__()
        self.images, self.links, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.images.append(given.pop("src"))
        if tag in ("script", "link", "iframe") or {"href", "src"} & set(given):
            self.links.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


def test_a_killed_study_goes_on_and_makes_only_what_is_missing(pipe, results, monkeypatch):
    before = (results / "results.json").read_text()
    lost = results / "512x256" / "direct" / "001-fox.png"
    kept = {path: path.stat().st_mtime_ns for path in results.rglob("0*.*") if path.stem != lost.stem}
    with Image.open(lost) as image:
        pixels = image.tobytes()
    lost.unlink()
    calls = []
    make = pictures.make
    monkeypatch.setattr(
        pictures, "make", lambda pipe, task, *rest: calls.append(task.request) or make(pipe, task, *rest)
    )
    progress = []
    run_study(_STUDY, pipe, results, "tiny", lambda *event: progress.append(event))
    assert [(call.width, call.height, call.seed, call.method) for call in calls] == [(512, 256, 1, "direct")]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with Image.open(lost) as image:
        assert image.tobytes() == pixels
    first, again = json.loads(before), json.loads((results / "results.json").read_text())
    for row in (*first["summary"], *again["summary"], *first["pictures"], *again["pictures"]):
        for cost in ("seconds", "memory"):
            del row["values"][cost]
            row.get("differences", {}).pop(cost, None)
    assert first == again
    assert progress[0] == ("drawing", "direct 512x256", 0, 1)
    assert progress[-1] == ("reporting", "reporting", 1, 1)


def test_real_pictures_give_distances_to_them(pipe, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    for seed in range(3):
        noisy(discs(512, 1), 5 * seed + 1).save(real / f"{seed}.png")
    study = Study(["fox"], [(512, 256)], count=2, methods=["direct"], steps=1, real=real)
    done = run_study(study, pipe, tmp_path / "out")
    assert {"fid_r", "kid_r", "fid_crop_r", "kid_crop_r"} <= set(done.rows[0].values)
    assert done.settings["real pictures"] == {"512x256": 3}
    assert -60 < done.settings["sharpness of real pictures, dB"]["512x256"] < 0
    assert "3 real pictures; their mean sharpness" in (tmp_path / "out" / "results.html").read_text()


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
    monkeypatch.setattr(pictures, "make", None)
    other = Study(**{**vars(_STUDY), **change})
    with pytest.raises(RedilateError, match=f"was made with another {named}"):
        run_study(other, pipe, results)


def test_variations_are_methods_too(pipe, results, tmp_path):
    same, strong = Variation(), Variation(strength=0.8)
    study = Study(
        ["fox"], [(512, 512)], count=1, methods=["redilate"], variations={"a": same, "b": strong}, steps=2
    )
    done = run_study(study, pipe, tmp_path)
    assert [row.method for row in done.rows] == ["native", "redilate", "a", "b"]
    assert done.settings["drawings"]["b 512x512"]["strength"] == 0.8
    pixels = []
    for method in ("redilate", "a", "b"):
        with Image.open(tmp_path / "512x512" / method / "000-fox.png") as image:
            pixels.append(image.tobytes())
    assert pixels[0] == pixels[1] != pixels[2]
    with pytest.raises(RedilateError, match="another drawing"):
        run_study(Study(**{**vars(study), "variations": {"a": strong}}), pipe, tmp_path)


def test_a_variation_is_of_another_method_too(pipe, tmp_path):
    tuned = Variation(method="fouriscale", settings={"levels": "all", "fall": [0.5, 0.1]})
    study = Study(
        ["fox"], [(512, 512)], count=1, methods=["fouriscale"], variations={"tuned": tuned}, steps=2
    )
    done = run_study(study, pipe, tmp_path)
    assert done.settings["drawings"]["tuned 512x512"] == tuned.settings
    pixels = [(tmp_path / "512x512" / name / "000-fox.png") for name in ("fouriscale", "tuned")]
    assert len({Image.open(path).tobytes() for path in pixels}) == 2
    other = Variation(method="fouriscale", settings={"levels": "inner"})
    with pytest.raises(RedilateError, match="another drawing"):
        run_study(Study(**{**vars(study), "variations": {"tuned": other}}), pipe, tmp_path)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"method": "direct"}, "method is 'direct'; redilate works, and attention_scaling"),
        ({"method": "fouriscale", "strength": 0.3}, "strength is not for the method 'fouriscale'"),
        ({"settings": {"floor": 0.1}}, "settings is not for the method 'redilate'"),
        ({"method": "fouriscale", "settings": {"stride": 1}}, "fouriscale has no setting 'stride'"),
    ],
)
def test_a_variation_that_does_not_fit_its_method_is_refused(asked, says):
    with pytest.raises(ValidationError, match=says):
        Variation.model_validate(asked)


def test_another_plan_and_other_weights_are_refused(pipe, results):
    other = Study(
        **{
            **vars(_STUDY),
            "variations": {"mid-only": Variation(strength=1, plan=_PLAN.model_copy(update={"until": 0.4}))},
        }
    )
    with pytest.raises(RedilateError, match="another drawing"):
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
        ({"methods": [], "variations": {}}, "one method"),
        ({"methods": ["magic"]}, "unknown method 'magic'; known: direct, "),
        ({"variations": {"native": Variation()}}, "cannot be called 'native'"),
        ({"variations": {"direct": Variation()}}, "cannot be called 'direct'"),
        ({"variations": {"../up": Variation()}}, "cannot be called '../up'"),
        ({"sizes": [(500, 500)]}, "500"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(pipe, tmp_path, change, said):
    with pytest.raises(RedilateError, match=said):
        run_study(Study(**{**vars(_STUDY), **change}), pipe, tmp_path)
    assert not list(tmp_path.iterdir())
