import numpy as np
import pytest

from redilate.evaluation.statistics import bootstrap, bootstrap_normal, paired_difference


def test_the_interval_of_a_large_normal_sample_is_the_textbook_one():
    values = np.random.default_rng(1).normal(3, 2, 400)
    margin = 1.96 * values.std() / np.sqrt(len(values))
    interval = bootstrap(values.tolist())
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - margin, abs=0.1 * margin)
    assert interval.high == pytest.approx(values.mean() + margin, abs=0.1 * margin)


def test_equal_values_leave_no_margin_and_the_same_values_give_the_same_interval():
    interval = bootstrap([0.5] * 8)
    assert interval.value == interval.low == interval.high == 0.5
    assert bootstrap([1, 2, 4]) == bootstrap([1, 2, 4])


def test_a_median_is_not_moved_by_a_picture_that_took_an_hour():
    usual = np.random.default_rng(1).normal(3, 0.1, 63).tolist()
    interval = bootstrap([*usual, 3600.0], "median")
    assert interval.value == pytest.approx(3, abs=0.05) and interval.high < 3.1
    assert paired_difference([*usual, 3600.0], [*usual, 3.0], "median").high == 0


def test_pairing_cancels_what_prompts_have_in_common():
    prompts = np.random.default_rng(2).normal(0, 10, 64)
    effect = np.random.default_rng(3).normal(1, 0.1, 64)
    difference = paired_difference((prompts + effect).tolist(), prompts.tolist())
    assert 0.9 < difference.low < 1 < difference.high < 1.1


def test_unequal_lengths_cannot_be_paired():
    for short in ([1], [1, 2]):
        with pytest.raises(ValueError, match="shorter"):
            paired_difference([1, 2, 3], short)


def test_resamples_without_a_figure_say_nothing():
    spread = np.array([1.0, 3.0, np.nan, 2.0])
    found = bootstrap_normal(2.0, spread)
    assert found.high - 2 == pytest.approx(1.96 * np.std([1, 3, 2], ddof=1))
    assert bootstrap_normal(2.0, np.array([np.nan, 1.0])).low == -np.inf
