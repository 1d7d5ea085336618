import numpy as np
import pytest

from redilate.evaluation import run
from redilate.evaluation.measures import Seen
from redilate.evaluation.run import keep_measured, read_measured, stamp_of


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"pixels")
    return path


@pytest.fixture
def store(tmp_path, picture):
    path = tmp_path / "measured" / "a.npz"
    seen = Seen({"objects": 1.0}, np.eye(5, 3, dtype=np.float32))
    keep_measured(path, stamp_of(picture), seen)
    return path


def test_what_was_measured_once_is_read_and_not_measured_again(picture, store):
    again = read_measured(store, stamp_of(picture))
    assert again.values == {"objects": 1}
    assert np.array_equal(again.features, np.eye(5, 3))
    assert [path.name for path in store.parent.iterdir()] == ["a.npz"]


def test_another_picture_another_version_and_half_a_file_are_measured_again(picture, store, monkeypatch):
    before = stamp_of(picture)
    picture.write_bytes(b"other pixels")
    assert read_measured(store, stamp_of(picture)) is None
    picture.write_bytes(b"pixels")
    monkeypatch.setattr(run, "VERSION", 999)
    assert read_measured(store, stamp_of(picture)) is None
    store.write_bytes(store.read_bytes()[:100])
    assert read_measured(store, before) is None
    assert read_measured(store.with_name("b.npz"), before) is None
