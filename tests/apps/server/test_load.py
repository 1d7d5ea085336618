"""More clients than places: the load test of `benchmarks.load`, small; its figures for 500 are in docs/serve.md."""

from __future__ import annotations

import pytest

from benchmarks.load import measure


@pytest.mark.slow
def test_every_request_of_many_clients_is_answered_once_and_by_its_own_picture():
    figures = measure(requests=20, clients=6, queue=2, size="64x64")
    assert figures.answered == figures.drawn_by_server == 20 and figures.wrong == 0
    assert figures.told_to_come_later > 0
    assert figures.exit_code == 0
