"""The page in a real browser, with the bundled model."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from redilate.apps.recorded_settings import read_settings

from .visitor import PATIENCE, visiting

pytestmark = pytest.mark.slow


def test_a_picture_is_drawn_compared_downloaded_and_nothing_is_asked_of_others(
    browser: Browser, address: str, tmp_path: Path
):
    with visiting(browser, address) as visitor:
        page = visitor.page
        visitor.ask("a red apple", side=384)
        visitor.fill("#strength", 1)
        visitor.settle()
        visitor.draw()
        assert visitor.picture().evaluate("image => [image.naturalWidth, image.naturalHeight]") == [384, 384]
        visitor.see("#details", "384 × 384 · re-dilated, strength 1 · seed 0 · 2 steps · guidance 3")

        with page.expect_download() as download:
            page.locator("#download").click()
        assert download.value.suggested_filename == "a-red-apple-384x384-seed-0-redilate.png"
        download.value.save_as(tmp_path / "apple.png")
        settings = read_settings(tmp_path / "apple.png")
        assert (settings["prompt"], settings["width"], settings["steps"]) == ("a red apple", 384, 2)
        assert settings["method"] == "redilate" and settings["model"] == "bundled"

        page.locator("#compare").click()
        visitor.picture("#slider")
        expect(page.locator("#slider img")).to_have_count(2)
        first, second = (image.get_attribute("src") for image in page.locator("#slider img").all())
        assert first != second
        expect(page.locator("#gallery img")).to_have_count(2)
        box = page.locator("#gallery").bounding_box()
        assert box is not None and box["height"] < 200  # one row, and nothing empty below it

        outside = [url for url in visitor.asked if not url.startswith((address, "data:", "blob:"))]
        assert outside == []


def test_the_native_picture_is_shown_before_the_large_one(browser: Browser, address: str, tmp_path: Path):
    with visiting(browser, address) as visitor:
        page = visitor.page
        visitor.ask("a red apple", side=768, steps=4)
        visitor.draw()
        early = visitor.picture()
        assert early.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [256, 256]
        visitor.see(".rd-sides", "early, at native size")
        box = early.bounding_box()
        visitor.see("#details", "768 × 768 · re-dilated, strength 0.45 · seed 0 · 4 steps")
        expect(page.locator("#picture img")).not_to_have_js_property("naturalWidth", 256, timeout=PATIENCE)
        large = visitor.picture()
        assert large.evaluate("image => image.naturalWidth") == 768
        after = large.bounding_box()
        assert box and after and abs(box["width"] - after["width"]) < 2  # nothing jumps
        expect(page.locator(".rd-sides")).to_have_count(0)

        with page.expect_download() as download:
            page.locator("#download").click()
        assert download.value.suggested_filename == "a-red-apple-768x768-seed-0-redilate.png"
        download.value.save_as(tmp_path / "apple.png")
        assert read_settings(tmp_path / "apple.png")["strength"] == 0.45
        page.locator("#compare").click()
        visitor.picture("#slider")
        visitor.see(".rd-sides", "direct")
        visitor.see(".rd-sides", "re-dilated, strength 0.45")


def test_a_picture_to_start_from_is_drawn_on_and_one_of_the_gallery_is_shown_again(
    browser: Browser, address: str, tmp_path: Path
):
    Image.new("RGB", (300, 200), (0, 200, 0)).save(tmp_path / "green.webp")
    with visiting(browser, address) as visitor:
        page = visitor.page
        visitor.ask("a cactus", side=256, steps=5)
        visitor.draw()
        visitor.see("#details", "256 × 256 · as trained · seed 0 · 5 steps")
        page.get_by_role("button", name="Start from a picture").click()
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "green.webp")
        expect(page.locator("#upload img").first).to_be_visible(timeout=PATIENCE)
        visitor.fill("#strength", 0.2)
        visitor.settle()
        visitor.draw()
        visitor.see("#details", "strength 0.2")
        with page.expect_download() as download:
            page.locator("#download").click()
        download.value.save_as(tmp_path / "cactus.png")
        assert read_settings(tmp_path / "cactus.png")["strength"] == 0.2
        with Image.open(tmp_path / "cactus.png") as image:
            red, green, blue = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
        assert green > max(red, blue) + 60  # still the green; a cactus from noise alone stands on white

        expect(page.locator("#gallery img")).to_have_count(2)
        page.locator("#gallery img").nth(1).click()
        expect(page.locator("#details")).to_contain_text("as trained · seed 0", timeout=PATIENCE)
        visitor.fill("label:has-text('Prompt')", "another")
        page.locator("#reuse").click()
        expect(page.locator("label:has-text('Prompt') textarea")).to_have_value("a cactus", timeout=PATIENCE)


def test_stop_ends_a_picture_at_its_next_step_and_the_next_one_is_drawn(browser: Browser, address: str):
    with visiting(browser, address) as visitor:
        visitor.ask("a cactus", steps=200)
        visitor.draw()
        visitor.see("#status", "Step")
        visitor.page.locator("#stop").click()
        visitor.see("#status", "Stopped")
        expect(visitor.page.locator("#picture img")).to_have_count(0)
        visitor.ask("a cactus", side=256, steps=1)
        visitor.draw()
        visitor.picture()
        visitor.see("#details", "1 steps")


def test_what_cannot_be_drawn_is_said_on_the_page(browser: Browser, address: str, tmp_path: Path):
    with visiting(browser, address) as visitor:
        visitor.draw()
        visitor.see("#status [role=alert]", "The prompt is empty")
        visitor.fill("#width", 99999)
        visitor.see("#cost [role=alert]", "99999 is not a multiple of 8; 100000 works")
        visitor.fill("label:has-text('Prompt')", "<img src=x onerror=document.title='hacked'>")
        visitor.draw()
        visitor.see("#status [role=alert]", "is not a multiple of 8")
        visitor.ask("<img src=x onerror=document.title='hacked'>", side=256, steps=1)
        visitor.draw()
        visitor.see("#details", "<img src=x")
        assert visitor.page.title() == "Redilate"

        bomb = tmp_path / "bomb.png"
        Image.new("1", (9000, 9000)).save(bomb)
        visitor.page.get_by_role("button", name="Start from a picture").click()
        visitor.page.locator("#upload input[type=file]").set_input_files(bomb)
        expect(visitor.page.locator("#upload img").first).to_be_visible(timeout=PATIENCE)
        visitor.draw()
        visitor.see("#status [role=alert]", "9000x9000 has 81000000 pixels; 50000000")


def test_sizes_follow_presets_and_the_ratio_is_kept_while_it_is_locked(browser: Browser, address: str):
    with visiting(browser, address) as visitor:
        page = visitor.page
        width, height = page.locator("#width input"), page.locator("#height input")
        expect(width).to_have_value("512")
        page.locator(".rd-choice label", has_text="16:9").click()
        expect(width).to_have_value("672", timeout=PATIENCE)
        expect(height).to_have_value("384", timeout=PATIENCE)
        visitor.fill("#width", 1344)
        expect(height).to_have_value("768", timeout=PATIENCE)
        page.locator("#lock input").click()
        visitor.fill("#width", 768)
        visitor.see("#cost", "0.59 megapixels · 9 × the native area")
        expect(height).to_have_value("768")
        seed = page.locator("#seed input")
        page.locator("#dice").click()
        expect(seed).not_to_have_value("0", timeout=PATIENCE)


def test_on_a_phone_everything_fits_and_the_picture_stands_below_the_button(browser: Browser, address: str):
    with visiting(browser, address, 390, 844) as visitor:
        page = visitor.page
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            boxes = [
                page.locator(part).bounding_box()
                for part in ("#width", "#lock", "#draw", ".rd-empty", "#dice")
            ]
            assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
            assert [box["y"] for box in boxes if box] == sorted(box["y"] for box in boxes if box)
            lines = [
                {label.bounding_box()["y"] for label in choice.locator("label").all()}  # type: ignore[index]
                for choice in page.locator(".rd-choice").all()
            ]
            assert [len(line) for line in lines] == [1, 1, 1]  # no choice is broken over two lines
