"""The training, from nothing and for a moment, on icons that are drawn here."""

from __future__ import annotations

import random

import pytest
import torch

from training import bundle, text, unet
from training.autoencoder import build as build_autoencoder
from training.icons import HERE, Icon, read_names
from training.muon import Muon, orthogonal

pytest.importorskip("resvg_py")


def icon(name: str, colour: str, *aliases: str) -> Icon:
    circle = f"<circle cx='16' cy='16' r='12' fill='{colour}'/>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>{circle}</svg>"
    return Icon("drawn", name, svg, aliases)


ICONS = [icon("red-ball", "red", "ball"), icon("blue-ball", "blue")]


def test_a_short_run_from_nothing_goes_on_where_it_was(tmp_path):
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    tokenizer = text.build_tokenizer(ICONS)
    asked = {"batch": 2, "rate": 1e-3, "device": "cpu"}
    unet.train(vae, tokenizer, ICONS, tmp_path, steps=1, **asked)
    assert unet.steps_done(tmp_path) == 1
    model = unet.train(vae, tokenizer, ICONS, tmp_path, steps=2, **asked)
    assert unet.steps_done(tmp_path) == 2
    pipe = bundle.assemble(vae, tokenizer, model.eval())
    (image,) = bundle.samples(pipe, ICONS[:1], steps=1)
    assert image.size == (256, 256) and bundle.recognised([image], ICONS[:1], ICONS) in (0, 1)
    bundle.write_words(tmp_path, ICONS)
    assert (
        tmp_path / "concepts.json"
    ).read_text() == '{\n "red ball": [\n  "ball"\n ],\n "blue ball": []\n}\n'


def test_captions_use_every_name_and_both_orders():
    draw = random.Random(0)
    said = {text.caption(ICONS[0], draw) for _ in range(400)}
    assert {"red ball", "a ball", "ball, red", "red ball emoji"} <= said


def test_noise_levels_are_high_in_the_first_third_and_low_after():
    generator = torch.Generator().manual_seed(0)
    high = torch.cat([unet._timesteps(16, 0.1, "cpu", generator) for _ in range(50)]).float()
    low = torch.cat([unet._timesteps(16, 0.5, "cpu", generator) for _ in range(50)]).float()
    # The mean of 1 - u² over u in [0, 1]; half of the samples evenly below 0.3, the others evenly over all levels.
    assert high.mean() == pytest.approx(667, abs=15) and low.mean() == pytest.approx((150 + 500) / 2, abs=15)
    assert (low < 300).float().mean() == pytest.approx(0.5 + 0.3 / 2, abs=0.01)


def test_orthogonal_keeps_directions_and_evens_their_sizes():
    torch.manual_seed(0)
    matrix = torch.randn(12, 30)
    found = orthogonal(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    along = (left.T @ found @ right.T).diagonal()
    assert along.min() > 0.6 and along.max() < 1.3
    torch.testing.assert_close(orthogonal(matrix.T), found.T, atol=1e-4, rtol=1e-4)


def test_muon_lowers_a_loss_of_matrices_and_convolutions():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 3, padding=1))
    optimizer = Muon([one for one in net.parameters() if one.ndim > 1], lr=0.02)
    given = torch.randn(4, 3, 8, 8)
    losses = []
    for _ in range(30):
        loss = (net(given) - given).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_concepts_are_between_48_and_72_and_none_is_held_out():
    lines = (HERE / "concepts.txt").read_text().splitlines()
    names = [line.partition(":")[0] for line in lines if not line.startswith("#")]
    assert 48 <= len(set(names)) == len(names) <= 72
    assert not set(names) & set(read_names("held_out.txt"))
