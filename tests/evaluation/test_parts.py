import numpy as np
import pytest
from PIL import Image, ImageDraw

from redilate.evaluation.repetition import count_parts, palette
from tests.evaluation.drawings import canvas, cookie, discs, face, glued, noisy


@pytest.mark.parametrize("size", [256, 512, 1024])
@pytest.mark.parametrize("count", [1, 3, 5, 16])
def test_discs_and_their_ground_are_counted(count, size):
    image = discs(size, count)
    assert count_parts(image, palette(image)) == count + 1


@pytest.mark.parametrize("dots", [3, 4, 6])
def test_dots_are_parts_of_a_cookie_counted_in_the_native_palette(dots):
    native = cookie(256, dots=2)
    colours = palette(native)
    assert count_parts(cookie(1024, dots), colours) - count_parts(native, colours) == dots**2 - 4


def test_a_face_of_four_eyes_has_two_parts_more():
    colours = palette(face(256))
    assert count_parts(face(512, eyes=4), colours) == count_parts(face(256), colours) + 2


def test_copies_have_as_many_times_the_parts():
    native = cookie(256, dots=2)
    # The dough of all copies hangs together; the dots do not.
    assert count_parts(glued(native, 2), palette(native)) >= 4 * 4 + 2


def test_a_dotted_cookie_has_the_same_parts_at_every_size():
    colours = palette(cookie(256))
    assert count_parts(cookie(256), colours) == count_parts(cookie(1024), colours) >= 17


def test_noise_and_shading_add_no_parts():
    native = face(256)
    colours = palette(native)
    assert count_parts(noisy(native, 8), colours) == count_parts(native, colours)
    shaded = canvas(256)[0]
    ramp = np.linspace(150, 220, 256).astype(np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2)
    shaded.paste(Image.fromarray(ramp).crop((64, 64, 192, 192)), (64, 64))
    assert count_parts(shaded, palette(shaded)) <= 3


def test_a_palette_has_the_colours_that_are_there_and_one_of_each():
    image, draw = canvas(128)
    draw.rectangle([20, 20, 100, 60], fill=(255, 0, 0))
    draw.rectangle([20, 61, 100, 100], fill=(0, 0, 255))
    ImageDraw.Draw(image).rectangle([40, 30, 80, 50], fill=(245, 5, 0))
    assert {tuple(colour) for colour in palette(image).round(-1).tolist()} >= {(0.0, 0.0, 260.0)}
    assert len(palette(image)) == 3
