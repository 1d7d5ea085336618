"""Build the folder that ComfyUI loads: python scripts/comfyui_folder.py ComfyUI/custom_nodes/comfyui-redilate

One source: the nodes are those of integrations/comfyui, the method that of src/redilate. The modules that the nodes
import, and those that these import, are copied to FOLDER/method, and the imports are made to lead there. Whatever needs
more than torch, numpy and pydantic is refused, so the nodes never need diffusers.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NODES, SOURCE = ROOT / "integrations" / "comfyui", ROOT / "src" / "redilate"
CARRIED, PICTURES = "method", "docs/images"
ALLOWED = {"torch", "numpy", "pydantic"} | sys.stdlib_module_names


def build(folder: Path) -> list[str]:
    """Write the folder, which must not exist or be one of ours; the names of the modules that it carries."""
    if folder.exists() and not (folder / CARRIED).is_dir():
        raise SystemExit(f"{folder} exists and is no folder of Redilate's nodes; name another one")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(NODES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "images").mkdir()
    for picture in (ROOT / PICTURES).glob("comfyui-*"):
        shutil.copy(picture, folder / "images" / picture.name)
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace(f"../../{PICTURES}/", "images/"))
    for node in folder.glob("*.py"):
        node.write_text(
            re.sub(r"^from redilate\.", f"from .{CARRIED}.", node.read_text(), flags=re.MULTILINE)
        )
    carried = closure({name for node in NODES.glob("*.py") for name in _imported(node, "")})
    for name in sorted(carried):
        source = _file(name)
        target = folder / CARRIED / source.relative_to(SOURCE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        for package in (target.parent, folder / CARRIED):
            (package / "__init__.py").touch()
    return sorted(carried)


def closure(wanted: set[str]) -> set[str]:
    """Modules of Redilate by name (`core.conv`), and all that they import."""
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted |= _imported(_file(name), name) - found
    return found


def _imported(path: Path, name: str) -> set[str]:
    """Redilate's modules that a file imports when it is loaded; whatever else is refused unless it is allowed."""
    found = set()
    for node in _loaded(ast.parse(path.read_text()).body):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.Import):
            _check(path, names)
        elif node.level == 0 and node.module and node.module.split(".")[0] == "redilate":
            found |= _modules(node.module.removeprefix("redilate").lstrip("."), names)
        elif node.level == 0:
            _check(path, [node.module or ""])
        elif name:  # among the nodes, relative imports are of nodes
            package = name.split(".")[: -node.level]
            found |= _modules(".".join([*package, *filter(None, [node.module])]), names)
    return found


def _loaded(body: list[ast.stmt]) -> list[ast.Import | ast.ImportFrom]:
    """The imports at a module's top, not those for type checkers or inside functions."""
    inside = [statement for node in body if isinstance(node, ast.Try) for statement in node.body]
    return [node for node in [*body, *inside] if isinstance(node, ast.Import | ast.ImportFrom)]


def _modules(module: str, names: list[str]) -> set[str]:
    """`from module import names`: the module, or the modules in it that the names are."""
    inside = {f"{module}.{name}".lstrip(".") for name in names}
    return {name for name in inside if _path(name).is_file()} or {module}


def _check(path: Path, names: list[str]) -> None:
    for name in names:
        if name.split(".")[0] not in ALLOWED:
            raise SystemExit(f"{path.relative_to(ROOT)} imports {name}, which ComfyUI may not have")


def _path(name: str) -> Path:
    return SOURCE.joinpath(*name.split(".")).with_suffix(".py")


def _file(name: str) -> Path:
    path = _path(name)
    return path if path.is_file() else path.with_suffix("") / "__init__.py"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(f"carried: {', '.join(build(Path(sys.argv[1])))}")
