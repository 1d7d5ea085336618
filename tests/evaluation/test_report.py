import json

from PIL import Image

from redilate.evaluation.duplication import Repetition
from redilate.evaluation.measures import Measurement, summarise
from redilate.evaluation.report import table, write_json, write_table
from redilate.evaluation.sheets import CELL, ROWS, SheetRow, write_sheet
from tests.evaluation.drawings import discs

_SETTINGS = {"model": "tiny", "steps": 2, "plans": {}}


def _measurements() -> list[Measurement]:
    return [
        Measurement(f"prompt {seed}", seed, size, method, Repetition(1, large), distance, seconds=1.25)
        for seed in range(2)
        for size in ("512x512", "768x256")
        for method, large, distance in (("direct", 3 - seed, 1.0), ("redilate", 1 + seed, 0.5))
    ]


def test_a_line_of_the_table_says_what_the_row_does():
    lines = table(summarise(_measurements())[:2]).splitlines()
    assert lines[0].count("against direct") == 2
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith(
        "| direct | 1.00 | 2.50 | 100% [100%, 100%] | – | 0% | 1.000 [1.000, 1.000] | – | 1.2"
    )
    assert lines[3].startswith("| redilate | 1.00 | 1.50 | 50% [0%, 100%] | -50% [-100%, +0%] | 50% | 0.500")
    assert "| -0.500 [-0.500, -0.500] |" in lines[3]


def test_markdown_has_a_table_for_each_size_and_the_settings(tmp_path):
    write_table(tmp_path / "study.md", _SETTINGS, summarise(_measurements()))
    text = (tmp_path / "study.md").read_text()
    assert text.index("## 512×512") < text.index("## 768×256")
    assert text.count("| redilate |") == 2
    assert "model tiny; steps 2\n" in text


def test_json_holds_settings_rows_and_every_picture(tmp_path):
    measurements = _measurements()
    write_json(tmp_path / "study.json", _SETTINGS, summarise(measurements), measurements)
    content = json.loads((tmp_path / "study.json").read_text())
    assert content["settings"] == _SETTINGS
    assert len(content["summary"]) == 4
    assert len(content["pictures"]) == 8
    assert content["pictures"][0]["repetition"] == {"components_native": 1, "components_large": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


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
