"""Settings that are kept in JSON files, to be read, edited and handed on."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ..atomic import write_text
from ..errors import RedilateError


class Stored(BaseModel):
    """Frozen settings that refuse unknown fields, and their JSON files.

    Attributes:
        kind: what messages call them: "plan".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read them from a JSON file; RedilateError says what is wrong with one that holds something else."""
        try:
            return cls.model_validate_json(Path(path).read_text())
        except OSError as error:
            raise RedilateError(f"cannot read the {cls.kind} {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise RedilateError(f"{path} is not a {cls.kind}: it is not UTF-8 text") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RedilateError(f"{path} is not a {cls.kind}: {place}: {first['msg']}") from error

    def write(self, path: str | Path) -> None:
        """Write them as JSON, whole or not at all."""
        write_text(Path(path), self.model_dump_json(indent=2) + "\n")
