"""Bodies of requests and answers: OpenAI's fields, and those of a diffusion model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from redilate.generation.drawing import ANY_SEED, Method
from redilate.generation.setting_names import own_name
from redilate.plans.defaults import Preset

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
OutputFormat = Literal["png", "jpeg", "webp"]

# Default steps by quality.
STEPS = {"low": 12, "medium": 25, "auto": 25, "standard": 25, "high": 40, "hd": 40, "xhigh": 60, "max": 100}
# Other servers' fields for `size`.
_SIDES = ("width", "height")


class GenerationRequest(BaseModel):
    """The body of POST /v1/images/generations."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=32_000, description="What to draw.")
    model: str | None = Field(None, description="The model that is served, as /v1/models names it.")
    n: int | None = Field(None, ge=1, le=10, description="How many pictures; each has its own seed.")
    size: str | None = Field(
        None, max_length=32, description="WIDTHxHEIGHT in pixels, multiples of 8, or `auto`."
    )
    quality: Quality | None = Field(None, description="Chooses `steps` where they are not given.")
    response_format: Literal["b64_json", "url"] | None = Field(None, description="Default b64_json.")
    output_format: OutputFormat | None = Field(None, description="Default png.")
    output_compression: int | None = Field(None, ge=0, le=100, description="The quality of a JPEG or a WebP.")
    background: Literal["auto", "opaque", "transparent"] | None = Field(
        None, description="`transparent` is refused."
    )
    stream: bool | None = Field(None, description="Answer with server-sent events; for one picture.")
    partial_images: int | None = Field(
        None, ge=0, le=3, description="Early looks at a streamed picture, at most native size."
    )
    user: str | None = Field(None, max_length=1000, description="Has no effect.")
    safety_identifier: str | None = Field(None, max_length=1000, description="Has no effect.")
    moderation: Literal["auto", "low"] | None = Field(None, description="Has no effect.")
    style: Literal["vivid", "natural"] | None = Field(None, description="Has no effect.")

    seed: int | None = Field(
        None, ge=ANY_SEED, lt=2**53, description="The first picture's; without it, or -1: one drawn by lot."
    )
    steps: int | None = Field(None, ge=1, description="Denoising steps.")
    guidance: float | None = Field(
        None, ge=0, le=50, allow_inf_nan=False, description="Classifier-free guidance scale."
    )
    negative_prompt: str | None = Field(None, max_length=32_000, description="What to keep away from.")
    strength: float | None = Field(
        None,
        ge=0.01,
        le=1,
        allow_inf_nan=False,
        description="The noise level at which the large legs start, or a picture drawn from: low keeps, "
        "high invents; 1 draws everything at full size. Without it, the model family's default.",
    )
    preset: Preset = Field("default", description="Which defaults.")
    method: Method = Field("redilate", description="Re-dilated, or as the model would on its own.")

    @model_validator(mode="before")
    @classmethod
    def _other_servers_names(cls, asked: Any) -> Any:
        """The fields by the names here, for `num_inference_steps`, `cfg_scale`, `width` and `height` and others."""
        if not isinstance(asked, dict):
            return asked
        found: dict[Any, Any] = {}
        for name, value in asked.items():
            own = name
            if isinstance(name, str) and name not in cls.model_fields:
                plain = own_name(name)
                own = {"negative": "negative_prompt"}.get(plain, plain)
                own = own if own in (*cls.model_fields, *_SIDES) else name
            if own in found:
                raise _refusal(f"{name} is called {own} here, and {own} is given twice; leave one out")
            found[own] = value
        sides = [found.pop(side, None) for side in _SIDES]
        if sides == [None, None]:
            return found
        if None in sides:
            raise _refusal("width and height go together: give both, or size as WIDTHxHEIGHT")
        if found.get("size") is not None:
            raise _refusal("size says what width and height say; leave one of them out")
        return found | {"size": f"{sides[0]}x{sides[1]}"}


def _refusal(message: str) -> PydanticCustomError:
    # pydantic would put "Value error" before a ValueError's message.
    return PydanticCustomError("other_name", "{message}", {"message": message})


class EditRequest(GenerationRequest):
    """The fields of POST /v1/images/edits beside `image`."""

    input_fidelity: Literal["high", "low"] | None = Field(None, description="Has no effect.")


class ImageData(BaseModel):
    """One picture, in base64 or by URL, and the seed that makes it again."""

    b64_json: str | None = None
    url: str | None = None
    seed: int
    notes: list[str] = Field([], description="What was left out or done otherwise than asked, a line each.")


class ImagesResponse(BaseModel):
    """The pictures of one request."""

    created: int = Field(description="Seconds since 1970.")
    data: list[ImageData]
    output_format: OutputFormat
    size: str
    background: Literal["opaque"] = "opaque"


class ModelCard(BaseModel):
    """A model as /v1/models lists it."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "redilate"


class ModelList(BaseModel):
    """The model that is served, under each of its names."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """The server's state."""

    status: Literal["ok", "draining"]
    model: str
    waiting: int
    drawing: bool


def edit_body() -> dict[str, Any]:
    """The OpenAPI description of an edit's multipart body, which FastAPI does not read, because of the limits."""
    schema = EditRequest.model_json_schema()
    file = {"type": "string", "format": "binary"}
    schema["properties"] = {"image": file, "mask": file} | schema["properties"]
    schema["required"] = ["image", *schema["required"]]
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
