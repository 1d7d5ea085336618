"""Files are kept up to a size and an age."""

from __future__ import annotations

from redilate.apps.server.service import Store


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_found_by_its_name_until_it_is_too_old():
    clock = Clock()
    store = Store(100, 60, clock)
    name = store.put(b"one", "image/png")
    clock.now = 59.9
    found = store.get(name)
    assert found is not None and (found.data, found.media) == (b"one", "image/png")
    clock.now = 60
    assert store.get(name) is None and len(store) == 0


def test_the_oldest_make_room_and_what_is_kept_never_grows_beyond_the_bound():
    store = Store(100, 60, Clock())
    names = [store.put(bytes(30), "image/png") for _ in range(1000)]
    assert len(store) == 3
    assert [store.get(name) is not None for name in names[-4:]] == [False, True, True, True]
    huge = store.put(bytes(500), "image/png")
    assert store.get(huge) is not None and len(store) == 1


def test_names_are_long_and_never_the_same():
    store = Store(1e9, 60)
    names = {store.put(b"same", "image/png") for _ in range(1000)}
    assert len(names) == 1000 and min(map(len, names)) >= 32
