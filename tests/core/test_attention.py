"""Windowed self-attention against plain loops in float64, on diffusers' own module."""

import copy
import math

import pytest
import torch
from diffusers.models.attention_processor import Attention

from redilate.core.windows import exchange_attention, lay_out, restore_attention, set_layout

HEADS, WIDTH = 2, 4


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return Attention(HEADS * WIDTH, heads=HEADS, dim_head=WIDTH).double().eval()


def attend(attention, tokens):
    """softmax(q kᵀ / √d) v for each head of (N, C) tokens, and the projection after it."""
    query, key, value = (
        (tokens @ layer.weight.T).view(-1, HEADS, WIDTH)
        for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    out = torch.empty_like(query)
    for head in range(HEADS):
        for place in range(len(tokens)):
            scores = [float(query[place, head] @ other) / math.sqrt(WIDTH) for other in key[:, head]]
            weights = [math.exp(score) for score in scores]
            out[place, head] = sum(
                weight / sum(weights) * one for weight, one in zip(weights, value[:, head], strict=True)
            )
    return out.flatten(1) @ attention.to_out[0].weight.T + attention.to_out[0].bias


@torch.no_grad()
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.25)])
@pytest.mark.parametrize(("size", "window"), [((4, 6), (2, 3)), ((5, 7), (3, 3)), ((3, 4), (3, 2))])
def test_each_token_is_what_its_window_alone_gives(attention, size, window, shift):
    (height, width), channels = size, HEADS * WIDTH
    maps = torch.randn(2, height, width, channels, dtype=torch.float64)
    expected = torch.full_like(maps, torch.nan)
    down, right = math.ceil(height / window[0]), math.ceil(width / window[1])
    tall, wide = math.ceil(height / down), math.ceil(width / right)
    dy = int(shift[0] * tall) if down > 1 else 0
    dx = int(shift[1] * wide) if right > 1 else 0
    for one, result in zip(maps, expected, strict=True):
        # Where windows overlap the later one, which stands nearer, writes over the one before.
        for top in (k * height // down for k in range(down)):
            for left in (k * width // right for k in range(right)):
                places = [
                    ((top + row + dy) % height, (left + column + dx) % width)
                    for row in range(tall)
                    for column in range(wide)
                ]
                seen = attend(attention, torch.stack([one[place] for place in places]))
                for place, token in zip(places, seen, strict=True):
                    result[place] = token
    exchange_attention(attention)
    set_layout(attention, lay_out(size, window, shift))
    found = attention(maps.flatten(1, 2))
    assert torch.allclose(found, expected.flatten(1, 2), atol=1e-12)


@torch.no_grad()
def test_a_window_as_large_as_the_map_is_bit_for_bit_the_whole(attention):
    tokens = torch.randn(2, 24, HEADS * WIDTH, dtype=torch.float64)
    plain = attention(tokens)
    exchange_attention(attention)
    set_layout(attention, lay_out((4, 6), (4, 6), (0.5, 0.5)))
    assert torch.equal(attention(tokens), plain)


@torch.no_grad()
def test_calls_that_the_windows_are_not_for_see_all_that_they_are_given(attention):
    tokens = torch.randn(2, 24, HEADS * WIDTH, dtype=torch.float64)
    mask = torch.zeros(2, 1, 24, dtype=torch.float64)
    mask[..., :7] = -10000.0
    calls = [
        lambda: attention(tokens, attention_mask=mask),
        lambda: attention(tokens, tokens[:, :5]),
        lambda: attention(tokens[:, :20]),
    ]
    plain = [call() for call in calls]
    exchange_attention(attention)
    set_layout(attention, lay_out((4, 6), (2, 3), (0.0, 0.0)))
    assert all(torch.equal(call(), before) for call, before in zip(calls, plain, strict=True))


@torch.no_grad()
def test_restored_it_is_what_it_was(attention):
    before, tokens = dict(attention.__dict__), torch.randn(1, 24, HEADS * WIDTH, dtype=torch.float64)
    plain, kind = attention(tokens), type(attention)
    exchange_attention(attention)
    exchange_attention(attention)  # again, to no harm
    set_layout(attention, lay_out((4, 6), (2, 3), (0.0, 0.0)))
    assert not torch.allclose(attention(tokens), plain)
    twin = copy.deepcopy(attention)
    assert torch.equal(twin(tokens), attention(tokens)) and type(twin) is type(attention)
    restore_attention(attention)
    restore_attention(attention)
    assert type(attention) is kind and attention.__dict__ == before
    assert torch.equal(attention(tokens), plain)
