"""Windows against index loops."""

import math

import pytest
import torch

from redilate.core.windows import from_windows, into_windows, lay_out, shift_at


@pytest.mark.parametrize("shift", [(0, 0), (0.25, 0.5), (0.75, 0), (0.5, 0.99)])
@pytest.mark.parametrize(
    ("size", "window"),
    [((8, 12), (4, 6)), ((4, 6), (4, 3)), ((7, 11), (3, 4)), ((5, 9), (5, 2)), ((3, 5), (1, 1))],
)
def test_a_window_holds_the_pixels_that_an_index_loop_finds_and_all_come_back(size, window, shift):
    (height, width) = size
    down, right = math.ceil(height / window[0]), math.ceil(width / window[1])
    tall, wide = math.ceil(height / down), math.ceil(width / right)
    # A side that is one window is not shifted.
    dy = math.floor(shift[0] * tall) if down > 1 else 0
    dx = math.floor(shift[1] * wide) if right > 1 else 0
    tokens = torch.randn(2, height * width, 3)
    layout = lay_out(size, window, shift)
    assert layout is not None and layout.tokens == height * width
    cut = into_windows(tokens, layout)
    number = 0
    for picture in range(2):
        for top in (k * height // down for k in range(down)):
            for left in (k * width // right for k in range(right)):
                for row in range(tall):
                    for column in range(wide):
                        y, x = (top + row + dy) % height, (left + column + dx) % width
                        assert torch.equal(cut[number, row * wide + column], tokens[picture, y * width + x])
                number += 1
    assert cut.shape == (number, tall * wide, 3)
    assert tall <= window[0] and wide <= window[1]
    assert torch.equal(from_windows(cut, layout), tokens)


def test_where_neighbours_overlap_a_token_is_taken_from_the_window_whose_cell_it_stands_in():
    layout = lay_out((1, 7), (1, 3), (0, 0))
    assert layout is not None
    # Three windows from 0, 2 and 4; 2 and 4 stand in two of them.
    assert layout.columns.into.tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    numbered = torch.arange(3.0)[:, None, None].expand(3, 3, 1)
    assert from_windows(numbered, layout).flatten().tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_one_window_that_holds_the_map_is_no_window():
    assert lay_out((4, 6), (4, 6), (0.5, 0.5)) is None and lay_out((4, 6), (5, 60), (0, 0)) is None


def test_shifts_are_the_same_at_the_same_noise_level_and_move_every_seam_over_a_schedule():
    assert shift_at(0.301) == shift_at(0.301)
    for steps in (10, 18, 20, 25, 50):
        late = [shift_at(step / steps) for step in range(steps // 2)]
        for axis in (0, 1):
            assert len({shift[axis] for shift in late}) > 1
    drawn = [shift_at(step / 1000) for step in range(1000)]
    assert len(set(drawn)) == 16 and max(map(drawn.count, drawn)) < 100
