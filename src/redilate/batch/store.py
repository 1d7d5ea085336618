"""A batch's folder: its pictures, written atomically, and their manifest."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import IO, Any, Self

from filelock import FileLock, Timeout

from ..atomic import replacing, write_text
from ..errors import RedilateError
from ..pipelines.loading import BUNDLED
from .tasks import Fault, Task

SETTINGS, MANIFEST, FAILURES, LOCK = "batch.json", "manifest.jsonl", "failures.jsonl", ".lock"

# Path → the settings inside a picture; RedilateError if there are none.
ReadSettings = Callable[[Path], Mapping[str, Any]]


class Store:
    """A batch's folder, to which one run at a time writes.

    `<id>.png`: the pictures. `manifest.jsonl`: a line for each, in the order of finishing; of two lines with one id the
    later holds. `failures.jsonl`: what the last run could not do, and why. `batch.json`: the settings that all pictures
    share.

    A killed run may leave a picture without a line, which the next run recognises by the settings inside it, or an
    incomplete line, which the next run cuts off.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], read: ReadSettings, *, writing: bool = True
    ):
        """Nothing is written before the store is entered (`with`), and without `writing` nothing at all.

        `settings`: JSON data that all pictures of the folder share.
        """
        self.folder = folder
        self._settings = dict(settings)
        self._read = read
        self._writing = writing
        self._made: Index  # id → digest, after entering
        self._manifest: IO[bytes] | None = None  # None if nothing is written
        self._failures: IO[str] | None = None

    def __enter__(self) -> Self:
        """Make the folder if need be, and read its manifest.

        RedilateError if the folder is a file, has no parent, cannot be written, is in use by another run, or has
        pictures with other settings.
        """
        folder, parent = self.folder, self.folder.absolute().parent
        if folder.exists() and not folder.is_dir():
            raise RedilateError(f"{str(folder)!r} is a file; name a folder for the pictures")
        if not parent.is_dir():
            raise RedilateError(f"there is no folder {str(parent)!r}")
        try:
            with ExitStack() as opened:
                self._made = opened.enter_context(closing(Index()))
                if self._writing:
                    folder.mkdir(exist_ok=True)
                    opened.enter_context(FileLock(folder / LOCK, blocking=False))
                self._check_settings()
                for line in self.records():
                    self._made.put(line["id"], line["digest"])
                if self._writing:
                    write_text(folder / SETTINGS, json.dumps(self._settings, indent=2) + "\n")
                    self._manifest = opened.enter_context((folder / MANIFEST).open("a+b"))
                    _cut_torn_line(self._manifest)
                    self._failures = opened.enter_context((folder / FAILURES).open("w", encoding="utf-8"))
                self._opened = opened.pop_all()
        except Timeout as error:
            raise RedilateError(f"another batch is writing to {str(folder)!r}: wait for it") from error
        except OSError as error:
            raise RedilateError(f"can't write to {str(folder)!r}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _check_settings(self) -> None:
        try:
            kept = json.loads((self.folder / SETTINGS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError as error:
            raise RedilateError(f"{self.folder / SETTINGS} is not JSON: {error}") from error
        other = [
            f"{name} {kept.get(name)!r} and not {self._settings.get(name)!r}"
            for name in {**self._settings, **kept}
            if kept.get(name) != self._settings.get(name)
        ]
        if other:
            raise RedilateError(
                f"{str(self.folder)!r} holds a batch with {', '.join(other)}: use its settings, or another folder"
            )

    def path(self, task: Task) -> Path:
        """The path of a task's picture."""
        return self.folder / f"{task.id}.png"

    def has(self, task: Task) -> bool:
        """Whether the task's picture exists; RedilateError if another picture has its path."""
        path = self.path(task)
        if not path.exists():
            return False
        digest = self._made.get(task.id)
        if digest is None:
            digest = self._read(path).get("task", {}).get("digest")
            if digest == task.digest:
                self._record(task, None)
        if digest != task.digest:
            raise RedilateError(
                f"{path} was made for another prompt, seed or size: give the row another id, or delete the picture"
            )
        return True

    def keep(self, task: Task, picture: bytes, seconds: float) -> None:
        """Write the picture, then its line."""
        with replacing(self.path(task)) as temporary:
            temporary.write_bytes(picture)
        self._record(task, seconds)

    def fail(self, fault: Fault) -> None:
        """Record a failure."""
        if self._failures is not None:
            self._failures.write(json.dumps(asdict(fault)) + "\n")
            self._failures.flush()

    def records(self) -> Iterator[dict[str, Any]]:
        """The manifest's lines, oldest first, without an incomplete last one."""
        path = self.folder / MANIFEST
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise RedilateError(f"{path}, line {number}, is not JSON: {error}") from error

    def write_parquet(self) -> Path:
        """Write the manifest as `manifest.parquet`, one row for each id; needs pyarrow."""
        import pyarrow
        from pyarrow import parquet

        kinds = {field.name: field.type.split(" ")[0] for field in fields(Task)}  # "float | None" is a float
        kinds |= {"file": "str", "digest": "str", "seconds": "float"}
        arrow = {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64()}
        schema = pyarrow.schema([(name, arrow[kind]) for name, kind in kinds.items()])
        last = Index()  # id → number of the line that holds
        for number, line in enumerate(self.records()):
            last.put(line["id"], str(number))
        path = self.folder / "manifest.parquet"
        with replacing(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
            held = (line for number, line in enumerate(self.records()) if last.get(line["id"]) == str(number))
            while lines := list(islice(held, 1024)):
                writer.write_table(pyarrow.Table.from_pylist(lines, schema))
        return path

    def _record(self, task: Task, seconds: float | None) -> None:
        self._made.put(task.id, task.digest)
        if self._manifest is not None:  # a dry run only looks
            line = asdict(task) | {"file": self.path(task).name, "digest": task.digest, "seconds": seconds}
            self._manifest.write(json.dumps(line).encode() + b"\n")
            self._manifest.flush()


def _cut_torn_line(file: IO[bytes]) -> None:
    """Remove the incomplete line that a killed run may have left."""
    file.seek(0)
    file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))


class Index:
    """Text → text, in a temporary SQLite database (2 MB in memory, the rest on disk); for one thread."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        # Temporary, so no safety against crashes.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE entry (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def get(self, key: str) -> str | None:
        """The value at `key`, or None."""
        found = self._database.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def put(self, key: str, value: str) -> None:
        """Set the value at `key`."""
        self._database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Delete the database; safe to call twice."""
        self._database.close()


# Pages read of each file, evenly spread: training changes every weight.
_PLACES, _PAGE = 16, 4096


def model_fingerprint(name_or_path: str | None) -> str | None:
    """Sixteen hexadecimal digits that change with a model's weights or configuration; None for a hub name.

    The weights are not loaded.
    """
    source = BUNDLED if name_or_path is None else Path(name_or_path)
    if not source.exists():
        return None
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        if path.suffix not in (".safetensors", ".json", ".txt", ".model"):
            continue  # a card or a preview
        size = path.stat().st_size
        digest.update(f"{path.relative_to(source)} {size}\n".encode())
        with path.open("rb") as file:
            for place in range(_PLACES):
                file.seek(max(0, size - _PAGE) * place // (_PLACES - 1))
                digest.update(file.read(_PAGE))
    return digest.hexdigest()
