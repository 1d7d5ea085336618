"""Windows against index loops."""

import pytest
import torch

from redilate.rivals.windows import from_windows, into_windows


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (3, 0), (2, 5)])
@pytest.mark.parametrize(("size", "window"), [((8, 12), (4, 6)), ((4, 6), (4, 3)), ((6, 6), (6, 6))])
def test_a_window_holds_the_pixels_that_an_index_loop_finds_and_all_come_back(size, window, shift):
    (height, width), (tall, wide) = size, window
    tokens = torch.randn(2, height * width, 3)
    cut = into_windows(tokens, size, window, shift)
    number = 0
    for picture in range(2):
        for top in range(0, height, tall):
            for left in range(0, width, wide):
                for row in range(tall):
                    for column in range(wide):
                        y, x = (top + row + shift[0]) % height, (left + column + shift[1]) % width
                        assert torch.equal(cut[number, row * wide + column], tokens[picture, y * width + x])
                number += 1
    assert cut.shape == (number, tall * wide, 3)
    assert torch.equal(from_windows(cut, size, window, shift), tokens)
