"""The field for a picture to start from, which takes nothing but an upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like


def upload(**settings: Any) -> gr.Image:
    """gr.Image, less its habit of fetching what a client names by address.

    A path that was not uploaded is refused by Gradio itself. The method is replaced on the object, not in a class of
    our own: for each such class Gradio writes a file beside its source.
    """
    field = gr.Image(**settings)
    take = field.async_move_resource_to_block_cache

    async def take_files(url_or_file_path: str | Path | None) -> str | None:
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Only an uploaded picture is taken, not an address.")
        return await take(url_or_file_path)

    setattr(field, "async_move_resource_to_block_cache", take_files)  # noqa: B010  # pyright knows a method there
    return field
