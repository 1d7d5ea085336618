"""What is alive at the peak, on computations whose answer is known."""

import torch
from torch import nn
from torch.nn import functional

from redilate.core.footprint import peak_bytes


def test_what_is_freed_makes_room_and_views_cost_nothing():
    def run():
        first = torch.empty(1000, device="meta")
        second = first + 1
        del first
        third = second * 2
        return third.view(10, 100).add_(1)

    assert peak_bytes(run, "cuda") == 8000
    assert peak_bytes(run, "cpu") == 12000  # the heap's hole does not serve a block of its own size


def test_a_convolution_and_its_activation_hold_two_outputs():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 4, 3, padding=1))
        picture = torch.empty(1, 4, 100, 100)
    assert peak_bytes(lambda: network(picture), "mps") == 16 * 100 * 100 * 4


def test_a_kernels_copies_are_added_where_it_makes_them():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 16, 3, padding=1))
        picture = torch.empty(1, 16, 100, 100)
    # The activation, its copy, the copied weights and the copy of the output.
    assert peak_bytes(lambda: network(picture), "cpu") == ((32 + 32 + 16) * 100 * 100 + 32 * 16 * 9) * 4
    assert peak_bytes(lambda: network(picture), "cuda") == ((32 + 32 + 2 * 16) * 100 * 100 + 32 * 16 * 9) * 4


def test_attention_is_counted_without_its_scores():
    query = torch.empty(1, 2, 10_000, 32, device="meta")
    assert peak_bytes(lambda: functional.scaled_dot_product_attention(query, query, query)) == query.nbytes


def test_attention_leaves_its_heads_side_by_side():
    def run():
        query = torch.empty(1, 10_000, 2, 32, device="meta").transpose(1, 2)
        out = functional.scaled_dot_product_attention(query, query, query)
        return out.transpose(1, 2).reshape(1, 10_000, 64)

    assert peak_bytes(run) == 2 * 10_000 * 64 * 4


def test_types_are_counted_as_they_are():
    half = torch.empty(1000, dtype=torch.float16, device="meta")
    assert peak_bytes(lambda: half + 1) == 2000


def test_inputs_weights_and_their_views_are_not_counted():
    with torch.device("meta"):
        layer, tokens = nn.Linear(512, 8), torch.empty(1, 10, 512)
    assert peak_bytes(lambda: layer(tokens.view(10, 512))) == 10 * 8 * 4
    query = torch.empty(1, 2, 10, 512, device="meta")
    assert peak_bytes(lambda: query[..., :1].expand(1, 2, 10, 64)) == 0
