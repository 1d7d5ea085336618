"""Redilate for ComfyUI: what ComfyUI reads of this folder.

In the repository the nodes import Redilate as it is installed; the folder that `scripts/comfyui_folder.py` builds
carries what they need of it, so that nothing has to be.
"""

try:
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"Redilate's nodes need {error.name}, which is not installed in ComfyUI's Python. Install comfyui-redilate by "
        "ComfyUI-Manager, or build its folder: python scripts/comfyui_folder.py ComfyUI/custom_nodes/comfyui-redilate. "
        "A clone of Redilate's repository, or integrations/comfyui alone, is not enough.",
        name=error.name,
    ) from error

WEB_DIRECTORY = "./web"  # the nodes' help pages

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
