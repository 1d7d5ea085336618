"""What ComfyUI finds when it loads the folder, and the folder that is built for it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NODES = ROOT / "integrations" / "comfyui"
NAMES = ["RedilateModel", "RedilateUpscale", "RedilateVAEDecode", "RedilateVAEEncode"]
# As ComfyUI before April 2025 loads a folder: as a top module of the folder's own name.
LOAD = """
import importlib.abc, importlib.util, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
name, folder = {name!r}, {folder!r}
spec = importlib.util.spec_from_file_location(name, folder + "/__init__.py")
sys.modules[name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(sorted(module.NODE_CLASS_MAPPINGS))
"""


def load(folder, name, absent):
    script = LOAD.format(absent=absent, name=name, folder=str(folder))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder under the name that once shadowed the package."""
    folder = tmp_path_factory.mktemp("custom_nodes") / "redilate"
    command = [sys.executable, str(ROOT / "scripts" / "comfyui_folder.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_folder_works_by_itself_under_any_name_and_without_diffusers(built):
    absent = ["diffusers", "transformers", "accelerate", "typer", "rich", "safetensors"]
    ended = load(built, "redilate", absent)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == str(NAMES)


def test_the_folder_has_what_the_registry_wants(built):
    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "requirements.txt"} <= {
        path.name for path in built.iterdir()
    }
    assert sorted(path.stem for path in (built / "web" / "docs").iterdir()) == NAMES
    assert {path.suffix for path in (built / "method").rglob("*") if path.is_file()} == {".py"}


def test_the_folder_carries_the_pictures_of_its_readme(built):
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (built / "README.md").read_text())
    assert pictures and all((built / picture).is_file() for picture in pictures)


def test_every_node_lies_beside_its_likes_and_every_input_says_what_it_is(monkeypatch):
    from integrations.comfyui import host, nodes

    for kind in ("sampler_names", "scheduler_names"):
        monkeypatch.setattr(host, kind, lambda: ["one"])
    for name, node in nodes.NODE_CLASS_MAPPINGS.items():
        place = "model/latent" if "VAE" in name else "model/patch/unet"
        assert place == node.CATEGORY
        assert node.SEARCH_ALIASES and node.DESCRIPTION
        for inputs in node.INPUT_TYPES().values():
            assert [key for key, (_, *settings) in inputs.items() if not settings[0]["tooltip"]] == []


def test_a_missing_package_is_named_with_what_works():
    ended = load(NODES, "comfyui-redilate", ["redilate"])
    assert "need redilate, which is not installed" in ended.stderr and "comfyui_folder.py" in ended.stderr


@pytest.mark.parametrize(
    "path", sorted((NODES / "example_workflows").glob("*.json")), ids=lambda path: path.stem
)
def test_an_example_workflow_gives_each_input_a_source(path):
    """That they run is shown in a real ComfyUI, by scripts/comfyui.py."""
    workflow = json.loads(path.read_text())
    links = {link[0]: link for link in workflow["links"]}
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for node in nodes.values():
        for place, given in enumerate(node["inputs"]):
            _, source, slot, target, at, kind = links[given["link"]]
            assert (target, at, kind) == (node["id"], place, given["type"])
            assert nodes[source]["outputs"][slot]["type"] == kind
    assert any(node["type"].startswith("Redilate") for node in nodes.values())


def test_a_clone_of_the_whole_repository_is_told_what_to_build():
    script = "import sys; sys.modules['folder_paths'] = sys\n" + LOAD.format(
        absent=[], name="Redilate", folder=str(ROOT)
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 1 and "python scripts/comfyui_folder.py" in ended.stderr
