"""Limits of one request, and of all together."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """The server's limits.

    Attributes:
        megapixels: of one picture.
        count: pictures of one request, at most OpenAI's 10.
        steps: denoising steps of one picture.
        queue: requests that wait, beside the one being drawn; further ones get 429.
        timeout: seconds from a request's arrival to its answer, with the wait.
        grace: seconds to finish the current picture at shutdown.
        body_seconds: seconds until the next piece of a request's body must arrive.
        upload_megabytes, upload_megapixels: of an uploaded picture.
        stored_megabytes, stored_seconds: of all pictures stored for answers with URLs, and how long they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    megapixels: Positive = 4.2
    count: Annotated[int, Field(ge=1, le=10)] = 4
    steps: Count = 100
    queue: Annotated[int, Field(ge=0)] = 16
    timeout: Positive = 600.0
    grace: Annotated[float, Field(ge=0)] = 30.0
    body_seconds: Positive = 30.0
    upload_megabytes: Positive = 20.0
    upload_megapixels: Positive = 40.0
    stored_megabytes: Positive = 256.0
    stored_seconds: Positive = 3600.0
