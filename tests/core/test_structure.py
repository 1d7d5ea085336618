"""What counts as another structure of a network, and what does not."""

import copy

import pytest
import torch
from torch import nn

from redilate.core.patch import Structure


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(2, 2, 3), nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()))


def test_weights_and_the_mode_may_change(network):
    seen = Structure(network)
    network[0].weight.data += 1
    network.eval().to(torch.float64)
    assert seen.holds()


def exchange_one_for_its_like(network):
    network[1][0] = nn.Conv2d(2, 2, 3)


def put_one_in(network):
    network[0].add_module("extra", nn.ReLU())


def take_one_out(network):
    del network[1][1]


def replace_a_forward(network):
    network[1].forward = lambda x: x


def quantise(network):
    network[0]._parameters["weight"] = torch.zeros(2, 2, 3, 3, dtype=torch.int8)


@pytest.mark.parametrize(
    "change", [exchange_one_for_its_like, put_one_in, take_one_out, replace_a_forward, quantise]
)
def test_what_is_built_otherwise_is_seen(network, change):
    seen = Structure(network)
    change(network)
    assert not seen.holds() and Structure(network).holds()


def test_adapters_that_are_merged_or_put_out_of_action_are_seen():
    from peft import LoraConfig, inject_adapter_in_model

    network = inject_adapter_in_model(LoraConfig(target_modules=["0"]), nn.Sequential(nn.Conv2d(2, 2, 3)))
    for change in (network[0].merge, network[0].unmerge, lambda: network[0].enable_adapters(False)):
        seen = Structure(network)
        change()
        assert not seen.holds()


def test_a_deep_copy_holds_of_its_own_network(network):
    seen = Structure(network)
    network.seen = seen
    twin = copy.deepcopy(network)
    put_one_in(network)
    assert not seen.holds() and twin.seen.holds()
