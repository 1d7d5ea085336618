"""The model of a heap, on orders of taking and giving whose outcome is known."""

import itertools
import random

from redilate.core.heap import MAPPED_FROM, Heap

MIB = 2**20


def test_what_is_freed_stays_and_serves_what_fits_into_it():
    heap = Heap()
    first, second = heap.take(8 * MIB), heap.take(4 * MIB)
    heap.give(first, 8 * MIB)
    assert heap.resident == 12 * MIB
    assert heap.take(6 * MIB) == first and heap.resident == 12 * MIB
    heap.take(3 * MIB)  # only two of the eight are left
    assert heap.resident == 15 * MIB
    heap.give(second, 4 * MIB)
    assert heap.resident == 15 * MIB


def test_neighbours_are_joined():
    heap = Heap()
    blocks = [heap.take(4 * MIB) for _ in range(3)]
    heap.take(MIB)
    for block in (blocks[0], blocks[2], blocks[1]):
        heap.give(block, 4 * MIB)
    assert heap.take(11 * MIB) == blocks[0] and heap.resident == 13 * MIB


def test_an_aligned_block_needs_a_hole_a_little_longer_than_itself():
    heap = Heap()
    block = heap.take(4 * MIB)
    heap.take(MIB)
    heap.give(block, 4 * MIB)
    assert heap.take(4 * MIB) != block and heap.resident == 9 * MIB


def test_the_smallest_that_fits_is_taken():
    heap = Heap()
    large, _, small, _ = (heap.take(size * MIB) for size in (8, 1, 4, 1))
    heap.give(large, 8 * MIB)
    heap.give(small, 4 * MIB)
    assert heap.take(3 * MIB) == small


def test_large_blocks_come_and_go_by_themselves_and_a_long_free_end_goes_back():
    heap = Heap()
    block = heap.take(MAPPED_FROM)
    heap.give(block, MAPPED_FROM)
    assert heap.resident == 0
    blocks = [heap.take(30 * MIB) for _ in range(4)]
    for block in reversed(blocks):
        heap.give(block, 30 * MIB)
    assert heap.resident < 64 * MIB
    everything = Heap(mapped_from=0)
    everything.give(everything.take(10), 10)
    assert everything.resident == 0


def test_no_two_blocks_overlap():
    heap, dice = Heap(), random.Random(0)
    held: list[tuple[int, int]] = []
    for _ in range(2000):
        if held and dice.random() < 0.5:
            heap.give(*held.pop(dice.randrange(len(held))))
        else:
            size = dice.randrange(1, 100)
            held.append((heap.take(size), size))
        places = sorted(held)
        assert all(sum(one) <= other[0] for one, other in itertools.pairwise(places))
        assert sum(size for _, size in held) <= heap.resident
