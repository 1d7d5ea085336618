import pytest
from PIL import Image

from redilate.evaluation.repetition import count_objects, self_similarity
from tests.evaluation.drawings import canvas, cookie, discs, face, glued, noisy, tiled


@pytest.mark.parametrize("size", [256, 512, 1024])
@pytest.mark.parametrize(("times", "share"), [(2, 1 / 2), (4, 3 / 4)])
def test_of_copies_side_by_side_all_but_one_row_lie_on_themselves_again(times, share, size):
    assert self_similarity(tiled(face(size), times)) == pytest.approx(share, abs=0.02)


def test_copies_that_hang_together_are_seen_though_they_are_one_object():
    once, copies = face(256), glued(face(256), 2)
    assert count_objects(once) == count_objects(copies) == 1
    assert self_similarity(once) < 0.1
    assert self_similarity(copies) > 0.4


def test_the_more_eyes_a_face_has_the_more_of_it_is_repeated():
    found = [self_similarity(face(512, eyes)) for eyes in (2, 4, 8, 12)]
    assert found == sorted(found)
    assert found[-1] > 4 * found[0]


@pytest.mark.parametrize("draw", [face, lambda size: discs(size, 1), lambda size: _square(size)])
def test_one_symmetric_object_is_no_repetition(draw):
    assert self_similarity(draw(512)) < 0.1


def test_what_is_dotted_by_nature_is_so_at_every_size():
    native, large = self_similarity(cookie(256)), self_similarity(cookie(1024))
    assert native > 0.25
    assert large == pytest.approx(native, abs=0.02)
    assert self_similarity(cookie(1024, dots=8)) > large + 0.05


def test_noise_and_blank_paper_are_nothing_repeated():
    assert self_similarity(noisy(canvas(256)[0], deviation=12)) < 0.1
    assert self_similarity(canvas(256)[0]) == 0
    assert self_similarity(noisy(face(256), 8)) == pytest.approx(self_similarity(face(256)), abs=0.03)


def test_turned_copies_are_what_it_cannot_see():
    half = face(256).resize((256, 256))
    both = Image.new("RGB", (512, 256), "white")
    both.paste(half, (0, 0))
    both.paste(half.rotate(75, fillcolor="white"), (256, 0))
    copies = Image.new("RGB", (512, 256), "white")
    for left in (0, 256):
        copies.paste(half, (left, 0))
    # The round outline alone comes back; of two equal copies half of everything does.
    assert self_similarity(both) < self_similarity(copies) == pytest.approx(0.5, abs=0.02)


def _square(size: int) -> Image.Image:
    image, draw = canvas(size)
    draw.rectangle([size // 8, size // 8, 7 * size // 8, 7 * size // 8], fill="teal")
    draw.circle((size / 2, size / 2), size / 5, fill="gold")
    return image
