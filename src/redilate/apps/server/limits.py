"""The limits of `redilate serve`, which are its options where they have one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Option


@dataclass(frozen=True)
class Limits:
    """The server's limits."""

    megapixels: Annotated[float, Option("--max-megapixels", min=0.001, help="Of one picture.")] = 4.2
    count: Annotated[int, Option("--max-count", min=1, max=10, help="Pictures of one request.")] = 4
    steps: Annotated[int, Option("--max-steps", min=1, help="Denoising steps of one picture.")] = 100
    upload_megabytes: Annotated[
        float, Option("--max-upload", min=0.001, help="Megabytes of a picture sent in.")
    ] = 20.0
    queue: Annotated[int, Option(min=0, help="Requests that may wait; further ones are told 429.")] = 16
    timeout: Annotated[float, Option(min=0.1, help="Seconds from a request to its answer.")] = 600.0
    grace: Annotated[float, Option(min=0, help="Seconds to finish a picture in at the end.")] = 30.0
    body_seconds: float = 30.0  # until the next piece of a request's body must arrive
    upload_megapixels: float = 40.0
    stored_megabytes: float = 256.0  # of all pictures stored for answers with URLs
    stored_seconds: float = 3600.0  # that each is stored
