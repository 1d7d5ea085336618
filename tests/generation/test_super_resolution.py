"""Enlarging with a network: by tiles, the real ones, and as a stage's enlargement."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

import redilate
from redilate import RedilateError
from redilate.generation import super_resolution
from redilate.generation.drawing import Hires, Request
from redilate.generation.ncnn_network import NcnnNetwork
from redilate.generation.resolve import resolve
from redilate.generation.super_resolution import enlarge, enlarged_by, from_file, real_esrgan, shipped_model
from tests.marks import needs_real_esrgan
from tests.models import tiny_sdxl


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


@needs_real_esrgan
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


@needs_real_esrgan
@pytest.mark.parametrize(
    ("model", "factor"),
    [
        ("realesrgan-x4plus", 4),
        ("realesrgan-x4plus-anime", 4),
        *(("realesr-animevideov3", factor) for factor in (2, 3, 4)),
    ],
)
def test_the_networks_that_come_with_it_give_what_ncnn_gives(model, factor):
    ncnn = pytest.importorskip("ncnn")
    files = str(shipped_model(model)) + (f"-x{factor}" if model == "realesr-animevideov3" else "")
    reference = ncnn.Net()
    reference.load_param(f"{files}.param")
    reference.load_model(f"{files}.bin")
    piece = np.random.default_rng(0).random((3, 20, 28), dtype=np.float32)
    extractor = reference.create_extractor()
    extractor.input("data", ncnn.Mat(piece))
    _, expected = extractor.extract("output")
    drawn = real_esrgan(model, factor)(piece)
    assert drawn.shape == (3, 20 * factor, 28 * factor)
    np.testing.assert_allclose(drawn, np.array(expected), atol=2e-5)


@needs_real_esrgan
def test_a_network_computes_where_the_pipeline_does(monkeypatch):
    asked = []
    monkeypatch.setattr(super_resolution, "real_esrgan", lambda *given: asked.append(given) or (
        lambda picture: picture.repeat(2, axis=1).repeat(2, axis=2)))  # fmt: skip
    enlarged_by("realesr-animevideov3", picture(8, 8), (16, 16), torch.device("meta"))
    assert asked == [("realesr-animevideov3", 2, "meta")]


def test_a_layer_that_none_of_them_has_is_refused(tmp_path):
    lines = ["7767517", "2 2", "Input in 0 1 data", "Sigmoid last 1 1 data output"]
    (tmp_path / "odd.param").write_text("\n".join(lines))
    (tmp_path / "odd.bin").touch()
    with pytest.raises(RedilateError, match="ncnn's kind Sigmoid"):
        NcnnNetwork(tmp_path / "odd.param")(torch.zeros(1, 3, 4, 4))


@needs_real_esrgan
@pytest.mark.parametrize(
    ("side", "factor", "passes"), [(60, 2, 1), (64, 2, 1), (90, 3, 1), (128, 4, 1), (160, 4, 2)]
)
def test_the_small_network_is_the_one_for_the_factor(side, factor, passes):
    small = picture(32, 32)
    network, expected = real_esrgan("realesr-animevideov3", factor), small
    for _ in range(passes):
        drawn = network(np.ascontiguousarray(np.asarray(expected, np.float32).transpose(2, 0, 1) / 255))
        assert drawn.shape[1:] == (factor * expected.height, factor * expected.width)
        expected = Image.fromarray((drawn.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
    expected = expected.resize((side, side), Image.Resampling.LANCZOS)
    assert enlarged_by("realesr-animevideov3", small, (side, side)).tobytes() == expected.tobytes()


@needs_real_esrgan
def test_a_large_network_has_four_for_its_only_factor():
    small = picture(24, 16)
    by_four = enlarge(small, (20, 30), network=real_esrgan("realesrgan-x4plus-anime"))
    assert enlarged_by("realesrgan-x4plus-anime", small, (20, 30)).tobytes() == by_four.tobytes()


@needs_real_esrgan
def test_a_small_network_has_a_leg_at_every_doubling_and_a_large_one_goes_four_times_at_once():
    def sizes(network):
        request = Request("fox", width=512, height=512, native_size=128, hires=Hires(enlarge=network))
        return [(leg.width, leg.height) for leg in resolve(tiny_sdxl(), request).legs]

    assert sizes("realesr-animevideov3") == [(128, 128), (256, 256), (512, 512)]
    assert sizes("realesrgan-x4plus") == [(128, 128), (512, 512)]


def test_an_unknown_network_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(
        RedilateError, match="realesrgan-x4plus, realesrgan-x4plus-anime, realesr-animevideov3"
    ):
        real_esrgan("swinir")
    with pytest.raises(RedilateError, match="there is no network at"):
        from_file(tmp_path / "none.safetensors")
    with pytest.raises(RedilateError, match="can run code"):
        from_file(tmp_path / "pickled.pth")
    with pytest.raises(ValidationError, match=r"latent-bicubic.* or a network's \.safetensors file works"):
        Hires(enlarge="4x-UltraSharp.pth")


def test_a_file_of_the_family_is_run_by_spandrel_and_another_is_refused(tmp_path):
    # With a torchvision that does not fit torch, spandrel raises a RuntimeError rather than an ImportError.
    pytest.importorskip("spandrel", exc_type=(ImportError, RuntimeError))
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    network = Compact(num_feat=8, num_conv=2, upscale=2)
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    run = from_file(tmp_path / "tiny.safetensors")
    piece = np.random.default_rng(0).random((3, 12, 20), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(piece)[None])[0].clamp(0, 1).numpy()
    np.testing.assert_allclose(run(piece), expected, atol=1e-6)
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(RedilateError, match="knows no network"):
        from_file(tmp_path / "other.safetensors")


def test_a_file_s_network_enlarges_between_the_legs_and_is_recorded(tmp_path, monkeypatch):
    file = tmp_path / "4x.safetensors"
    draw = partial(
        redilate.generate, tiny_sdxl(), "fox", width=512, height=512, steps=2, hires=Hires(enlarge=str(file))
    )
    with pytest.raises(RedilateError, match="there is no network at"):
        draw(on_step=lambda *_: pytest.fail("it was refused after a step"))
    save_file({"weight": torch.zeros(3)}, file)
    asked = []

    def loaded(path, device):
        asked.append((path, device))
        return lambda picture: picture.repeat(4, axis=1).repeat(4, axis=2)

    monkeypatch.setattr(super_resolution, "find_spec", lambda name: True)
    monkeypatch.setattr(super_resolution, "from_file", loaded)
    made = draw()
    assert set(asked) == {(str(file), "cpu")}
    assert made.settings["legs"][-1]["enlarged_by"] == str(file)
    assert made.settings["hires"]["enlarge"] == str(file)


def test_a_network_that_is_not_installed_is_missed_before_any_work(monkeypatch):
    monkeypatch.setattr("redilate.generation.super_resolution.find_spec", lambda name: None)
    real_esrgan.cache_clear()
    with pytest.raises(RedilateError, match=r"pip install 'redilate\[upscale\]'"):
        redilate.generate(tiny_sdxl(), "fox", width=512, height=512, hires=Hires(enlarge="realesrgan-x4plus"))
