"""An edit's form: its fields, and its pictures bounded in bytes and pixels, of three formats."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from redilate.errors import RedilateError
from redilate.generation.photos import TooManyPixels, read_photo

from ..metadata import FORMATS
from .errors import ApiError, from_validation, invalid
from .schemas import EditRequest


async def file_of(form: FormData, megabytes: float, *names: str) -> bytes | None:
    """The one file of a form under one of the names; None if there is none."""
    sent = [value for name in names for value in form.getlist(name) if not is_empty(value)]
    if not sent:
        return None
    name = names[0]
    if len(sent) > 1:
        raise invalid(name, f"one file works; {len(sent)} were sent")
    if not isinstance(sent[0], UploadFile):
        example = f"with curl, -F {name}=@picture.png sends one"
        raise invalid(name, f"a file is needed, and text was sent; {example}")
    data = await sent[0].read()
    if len(data) > megabytes * 1e6:
        raise ApiError(413, "image_too_large", f"{name} has more than {megabytes:g} megabytes", name)
    return data


def fields_of(form: FormData) -> EditRequest:
    """The fields of an edit's form beside its files."""
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        # Forms send empty fields too.
        if name in ("image", "image[]", "mask") or (is_empty(value) and name != "prompt"):
            continue
        if name in fields:
            raise invalid(name[:100], "it is given twice")
        fields[name] = value
    try:
        return EditRequest.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from error


def is_empty(value: UploadFile | str) -> bool:
    """Whether a form's field has neither a text nor a file."""
    return value == "" if isinstance(value, str) else not value.filename


def read_picture(
    data: bytes, *, megapixels: float, name: str = "image", on_note: Callable[[str], None] = warnings.warn
) -> Image.Image:
    """The picture in a file of at most `megapixels`; ApiError 400 or 413, with the field's `name`, for others."""
    try:
        return read_photo(data, max_pixels=int(megapixels * 1e6), formats=FORMATS, on_note=on_note)
    except TooManyPixels as error:
        raise ApiError(413, "image_too_large", f"{name}: {error}", name) from error
    except RedilateError as error:
        raise ApiError(400, "invalid_image_file", f"{name}: {error}", name) from error


def read_mask(data: bytes, image: Image.Image, *, megapixels: float) -> Image.Image:
    """The mask of `image` as `redilate.edit` takes it: white where the picture is drawn anew.

    As for OpenAI, transparent parts are drawn anew; of a mask without transparency, white parts.
    """
    flat = read_picture(data, megapixels=megapixels, name="mask")
    with Image.open(BytesIO(data), formats=FORMATS) as opened:
        mask = flat.convert("L")
        if opened.has_transparency_data:
            mask = ImageOps.invert(opened.convert("RGBA").getchannel("A"))
    if mask.size != image.size:
        found, wanted = (f"{one.width}x{one.height}" for one in (mask, image))
        raise invalid("mask", f"it is {found}, and the picture {wanted}; both of one size work")
    if mask.getbbox() is None:
        raise invalid("mask", "nothing of it is transparent, or white, so nothing would be drawn anew")
    return mask


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture scaled to cover (width, height) and cropped at the centre."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
