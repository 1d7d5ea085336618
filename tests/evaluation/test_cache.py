import numpy as np
import pytest

from redilate.evaluation import cache
from redilate.evaluation.cache import cached
from redilate.evaluation.measures import Seen


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"pixels")
    return path


def _seen(value: float) -> Seen:
    return Seen({"objects": value}, np.full((1, 3), value, np.float32), np.zeros((4, 3), np.float32))


def test_what_was_measured_once_is_read_and_not_measured_again(picture, tmp_path):
    store = tmp_path / "measured" / "a.npz"
    assert cached(store, [picture], lambda: _seen(1)).values == {"objects": 1}
    again = cached(store, [picture], lambda: pytest.fail("measured again"))
    assert again.values == {"objects": 1}
    assert np.array_equal(again.whole, _seen(1).whole)
    assert [path.name for path in store.parent.iterdir()] == ["a.npz"]


def test_another_picture_another_version_and_half_a_file_are_measured_again(picture, tmp_path, monkeypatch):
    store = tmp_path / "a.npz"
    cached(store, [picture], lambda: _seen(1))
    picture.write_bytes(b"other pixels")
    assert cached(store, [picture], lambda: _seen(2)).values == {"objects": 2}
    monkeypatch.setattr(cache, "VERSION", 999)
    assert cached(store, [picture], lambda: _seen(3)).values == {"objects": 3}
    store.write_bytes(store.read_bytes()[:100])
    assert cached(store, [picture], lambda: _seen(4)).values == {"objects": 4}
