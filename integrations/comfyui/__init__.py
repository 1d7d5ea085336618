"""Redilate for ComfyUI. What ComfyUI reads: `comfy_entrypoint`, or the mappings where its V3 interface is missing.

ComfyUI takes the mappings wherever it finds them, so only one of the two forms may be there.
"""

try:
    import comfy_api.latest  # noqa: F401
except ImportError:
    from .legacy import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
else:
    from .nodes import comfy_entrypoint

    __all__ = ["comfy_entrypoint"]
