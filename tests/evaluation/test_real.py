import pytest
from PIL import Image

from redilate.errors import RedilateError
from redilate.evaluation.inputs import load_real, real_pictures


def _pictures(folder, *sizes):
    folder.mkdir(parents=True, exist_ok=True)
    for index, size in enumerate(sizes):
        Image.new("RGB", size, "navy").save(folder / f"{index}.png")


def test_a_folder_of_the_size_goes_before_pictures_of_any_size(tmp_path):
    _pictures(tmp_path, (900, 600), (800, 800), (640, 640))
    _pictures(tmp_path / "512x256", (512, 256), (512, 256))
    assert {path.parent.name for path in real_pictures(tmp_path, (512, 256))} == {"512x256"}
    assert len(real_pictures(tmp_path, (600, 600))) == 3


def test_larger_pictures_are_shrunk_and_cut_to_the_ratio(tmp_path):
    image = Image.new("RGB", (1200, 600), "white")
    image.paste("red", (0, 0, 250, 600))  # well to the left of the square in the middle
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png")
    found = list(load_real(real_pictures(tmp_path, (256, 256)), (256, 256)))
    assert [one.size for one in found] == [(256, 256)] * 2
    assert found[0].getcolors() == [(256 * 256, (255, 255, 255))]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([(512, 512)], "has 1 real pictures for 512x512"),
        ([(512, 512), (512, 300)], "has 512x300 pixels; at least"),
    ],
)
def test_too_few_and_too_small_are_refused(tmp_path, sizes, said):
    _pictures(tmp_path, *sizes)
    with pytest.raises(RedilateError, match=said):
        real_pictures(tmp_path, (512, 512))


def test_a_missing_folder_and_a_broken_picture_are_named(tmp_path):
    with pytest.raises(RedilateError, match=r"cannot read the real pictures in .*nowhere"):
        real_pictures(tmp_path / "nowhere", (64, 64))
    _pictures(tmp_path, (64, 64))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(RedilateError, match=r"cannot read the real picture .*broken\.png"):
        real_pictures(tmp_path, (64, 64))
