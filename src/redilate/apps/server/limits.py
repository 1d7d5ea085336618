"""How much one request, and all of them together, may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """What the server allows.

    Attributes:
        megapixels: of one picture asked for.
        count: pictures of one request, at most OpenAI's 10.
        steps: denoising steps of one picture.
        queue: requests that wait, beside the one that is drawn; a further one is told to come later (429).
        timeout: seconds from a request's arrival to its answer, waiting included.
        grace: seconds that the picture being drawn at shutdown has to be finished.
        body_seconds: seconds in which the next piece of a request's body must come.
        upload_megabytes, upload_megapixels: of a picture sent in.
        stored_megabytes, stored_seconds: pictures kept for answers with URLs, all together, and for how long.
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
