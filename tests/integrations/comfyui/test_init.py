"""What ComfyUI finds when it loads the folder."""

import subprocess
import sys


def test_the_nodes_need_the_method_alone():
    """ComfyUI's environment has no diffusers, and an import must not ask for it."""
    script = (
        "import sys; import integrations.comfyui as nodes\n"
        "print(sorted(nodes.NODE_CLASS_MAPPINGS) == sorted(nodes.NODE_DISPLAY_NAME_MAPPINGS))\n"
        "print({'diffusers', 'transformers', 'accelerate', 'typer', 'rich', 'safetensors'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["True", "set()"]
