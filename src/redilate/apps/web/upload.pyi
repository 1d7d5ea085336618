"""The field for a picture to start from, which takes nothing but an upload."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio_client.utils import is_http_url_like


from gradio.events import Dependency

class Upload(gr.Image):
    """gr.Image, less its habit of fetching what a client names by address.

    A path that was not uploaded is refused by Gradio itself.
    """

    is_template = True  # Gradio knows components by their class: this one is drawn as its parent.

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        """As the parent's, for files alone.

        Raises:
            gr.Error: for an address.
        """
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Only an uploaded picture is taken, not an address.")
        return await super().async_move_resource_to_block_cache(url_or_file_path)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component