import pytest
from PIL import Image, ImageDraw

from redilate.evaluation.repetition import count_objects
from tests.evaluation.drawings import canvas, discs, face, noisy, tiled


@pytest.mark.parametrize("size", [64, 256, 512, 1024])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_separate_objects_are_counted_at_every_size(count, size):
    assert count_objects(discs(size, count)) == count


@pytest.mark.parametrize("size", [256, 1024])
def test_noise_adds_and_removes_no_object(size):
    for count in (1, 5):
        assert count_objects(noisy(discs(size, count), deviation=12)) == count


def test_an_empty_picture_has_no_objects_noise_or_not():
    empty = canvas(256)[0]
    assert count_objects(empty) == count_objects(noisy(empty, deviation=12)) == 0


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_a_picture_does_not_change_its_count(scale):
    for native in (discs(256, 5), noisy(discs(256, 3), deviation=8), face(256)):
        large = native.resize((256 * scale, 256 * scale), Image.Resampling.BICUBIC)
        assert count_objects(large) == count_objects(native)


@pytest.mark.parametrize("size", [256, 1024])
def test_what_lies_in_the_hole_of_an_object_belongs_to_it(size):
    image, draw = canvas(size)
    draw.circle((size / 2, size / 2), 0.4 * size, fill="white", outline="navy", width=size // 20)
    draw.circle((size / 2, size / 2), 0.1 * size, fill="crimson")
    assert count_objects(image) == 1


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_thin_parts_hold_an_object_together(size):
    image, draw = canvas(size)
    width = round(size / 128)
    draw.line([0.2 * size, 0.5 * size, 0.8 * size, 0.5 * size], fill="black", width=width)
    draw.circle((0.2 * size, 0.5 * size), 0.12 * size, fill="seagreen")
    draw.circle((0.8 * size, 0.5 * size), 0.12 * size, fill="seagreen")
    assert count_objects(image) == 1


def test_a_narrow_highlight_does_not_part_an_object_and_a_clear_gap_does():
    def halves(gap: float) -> Image.Image:
        image, draw = canvas(512)
        edge = 512 * gap / 2
        draw.rectangle([100, 100, 256 - edge, 400], fill="teal")
        draw.rectangle([256 + edge, 100, 412, 400], fill="teal")
        return image

    assert count_objects(halves(0.01)) == 1
    assert count_objects(halves(0.05)) == 2


def test_details_beside_an_object_do_not_count():
    image = discs(256, 1)
    ImageDraw.Draw(image).circle((20, 20), 6, fill="black")
    assert count_objects(image) == 1


def test_an_object_that_touches_the_edge_counts_once():
    image, draw = canvas(256)
    draw.rectangle([0, 60, 110, 200], fill="navy")
    draw.circle((190, 130), 45, fill="crimson")
    assert count_objects(image) == 2


def test_the_ground_may_have_any_colour():
    assert count_objects(discs(256, 3, colour="white", ground="slateblue")) == 3


def test_pictures_of_another_ratio_are_compared_with_a_square():
    native = discs(256, 1)
    wide = Image.new("RGB", (768, 256), "white")
    for left in (0, 256, 512):
        wide.paste(native, (left, 0))
    assert (count_objects(native), count_objects(wide)) == (1, 3)


def test_copies_are_counted_beside_the_native_picture():
    native = discs(256, 2)
    assert [count_objects(one) for one in (native, tiled(native, 2), discs(512, 1))] == [2, 8, 1]


def test_many_parts_inside_one_object_are_not_its_business():
    assert count_objects(face(256, eyes=2)) == count_objects(face(1024, eyes=12))
