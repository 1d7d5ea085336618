import json

from PIL import Image

from redilate.evaluation.figures import CELL, ROWS, SheetRow, write_sheet
from redilate.evaluation.measures import Measurement
from redilate.evaluation.report import tables, write_json, write_table
from redilate.evaluation.summary import NATIVE, summarise
from tests.evaluation.drawings import discs
from tests.evaluation.samples import measured

_SETTINGS = {
    "model": "tiny",
    "steps": 2,
    "plans": {},
    "real pictures": {"512x512": 40, "768x256": 0},
    "sharpness of real pictures, dB": {"512x512": -30.0},
}


def _measurements() -> list[Measurement]:
    return [
        measured(seed, method, objects, distance, size)
        for seed in range(2)
        for size in ("512x512", "768x256")
        for method, objects, distance in (
            (NATIVE, 1, 0.0),
            ("direct", 3 - seed, 1.0),
            ("redilate", 1 + seed, 0.5),
        )
    ]


def test_a_line_of_a_table_says_what_the_row_does():
    text = tables(summarise(_measurements())[:3])
    repetition, look, cost = text.split("\n\n")[1::2]
    lines = repetition.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith("| direct | 2.50 [2.00, 3.00] | 100% [100%, 100%] | 0% [0%, 0%] |")
    assert "| 50% [0%, 100%]<br>-50% [-100%, +0%] |" in lines[4]
    assert "| 0.500 [0.500, 0.500]<br>-0.500 [-0.500, -0.500] |" in look.splitlines()[4]
    assert cost.splitlines()[2] == "| native | 2.0 [2.0, 2.0] | 2 [2, 2] | 2 [2, 2] |"


def test_markdown_has_tables_for_each_size_the_settings_and_what_the_real_pictures_are(tmp_path):
    write_table(tmp_path / "results.md", _SETTINGS, summarise(_measurements()))
    text = (tmp_path / "results.md").read_text()
    assert text.index("## 512×512") < text.index("40 real pictures") < text.index("## 768×256")
    assert text.count("real pictures; their mean sharpness is -30.0 dB") == 1
    assert text.count("| redilate |") == 6
    assert "model tiny; steps 2\n" in text
    assert "difference to direct" in text


def test_json_holds_settings_rows_and_every_picture(tmp_path):
    measurements = _measurements()
    write_json(tmp_path / "results.json", _SETTINGS, summarise(measurements), measurements)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["settings"] == _SETTINGS
    assert len(content["summary"]) == 6
    assert len(content["pictures"]) == 12
    assert content["pictures"][1]["values"]["objects"] == 3
    assert content["summary"][2]["differences"]["repeated"]["value"] == -0.5
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_sheet_shows_every_picture_at_its_ratio_and_goes_on_to_the_right(tmp_path):
    native, wide = tmp_path / "native.png", tmp_path / "wide.png"
    discs(256, 1, colour="red").save(native)
    Image.new("RGB", (768, 256), "blue").save(wide)
    row = SheetRow(
        "a prompt far too long for its place " * 20, (native, wide), ("1 object", "1 object, 0.50")
    )
    write_sheet(tmp_path / "one.png", ["native", "direct"], [row])
    write_sheet(tmp_path / "strips.png", ["native", "direct"], [row] * (ROWS + 1))
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "strips.png") as strips:
        colours = {colour: count for count, colour in one.getcolors(maxcolors=1 << 20)}
        assert colours[(0, 0, 255)] == CELL * 3 * CELL
        assert colours[(255, 0, 0)] > 0.2 * CELL * CELL
        assert strips.width > 1.9 * one.width
        assert strips.height > (ROWS - 2) * CELL
