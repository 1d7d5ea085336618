"""Read by ComfyUI alone, where somebody has cloned this whole repository into its custom_nodes."""

import sys

if "folder_paths" in sys.modules:  # ComfyUI's own
    raise ImportError(
        "this is Redilate's whole repository, not the folder of its ComfyUI nodes. Build that one elsewhere: "
        "python scripts/comfyui_folder.py ComfyUI/custom_nodes/comfyui-redilate, or install comfyui-redilate by "
        "ComfyUI-Manager"
    )
