"""The vector icons that the bundled model learns from: fetched from npm, selected, captioned."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent

# Pinned, so that a second training run learns from the same pictures.
PACKAGES = {
    "fluent-emoji": "@iconify-json/fluent-emoji@1.2.7",  # MIT: the shaded one
    "fluent-emoji-flat": "@iconify-json/fluent-emoji-flat@1.2.6",  # MIT
    "noto": "@iconify-json/noto@1.2.9",  # Apache-2.0
}
# What the U-Net draws, and what the autoencoder learns from: fluent-emoji-flat has the shapes of fluent-emoji.
DIFFUSION_SET, AUTOENCODER_SETS = "fluent-emoji", ("fluent-emoji-flat", "noto")

# Near-duplicates and signs that would teach the autoencoder nothing more.
_LEFT_OUT_CATEGORIES = {"Flags", "People & Body"}
_LEFT_OUT_NAMES = re.compile(
    r"skin-tone|keycap|flag|button|oclock|thirty|zodiac|square|circle|-left-arrow|-right-arrow|up-arrow|down-arrow|letter-"
)


@dataclass(frozen=True)
class Icon:
    """One vector picture: its set, its name (`red-apple`), a complete SVG document, and other names that people use."""

    set: str
    name: str
    svg: str
    aliases: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The name as a caption writes it: `red apple`."""
        return self.name.replace("-", " ")


def fetch(folder: Path) -> None:
    """Install the pinned icon packages under `folder` with npm, unless they are there."""
    missing = [spec for name, spec in PACKAGES.items() if not _package(folder, name).exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "install", "--silent", "--no-save", "--prefix", str(folder), *missing], check=True
        )


def read_names(file: str) -> list[str]:
    """The icon names in one of the lists beside this file; lines that start with # are comments."""
    lines = (HERE / file).read_text().splitlines()
    return [name for line in lines if not line.startswith("#") for name in line.split()]


def load_set(folder: Path, name: str) -> dict[str, Icon]:
    """The icons of one set, by name, but for those that would teach nothing more."""
    package = _package(folder, name)
    collection = json.loads((package / "icons.json").read_text())
    # The shaded set has no categories of its own; it is only ever asked for by name.
    categories = json.loads((package / "metadata.json").read_text()).get("categories") or {
        "": list(collection["icons"])
    }
    return {
        icon: Icon(name, icon, _document(collection, icon))
        for category, names in categories.items()
        if category not in _LEFT_OUT_CATEGORIES
        for icon in names
        if not _LEFT_OUT_NAMES.search(icon)
    }


def concepts(folder: Path) -> list[Icon]:
    """What the U-Net learns to draw, in the order of `concepts.txt`."""
    icons = load_set(folder, DIFFUSION_SET)
    found = []
    for line in (HERE / "concepts.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, _, others = line.partition(":")
        found.append(
            replace(icons[name], aliases=tuple(one.strip() for one in others.split(",") if one.strip()))
        )
    return found


def vocabulary(folder: Path) -> list[Icon]:
    """What the tokenizer learns its words from: the concepts and the names in `later.txt`."""
    icons = load_set(folder, DIFFUSION_SET)
    return concepts(folder) + [icons[name] for name in read_names("later.txt")]


def held_out(folder: Path) -> list[Icon]:
    """What neither network sees in training."""
    icons = load_set(folder, DIFFUSION_SET)
    return [icons[name] for name in read_names("held_out.txt")]


def autoencoder_icons(folder: Path) -> list[Icon]:
    """Every icon of the autoencoder's sets but the held-out names."""
    hidden = set(read_names("held_out.txt"))
    sets = [load_set(folder, name) for name in AUTOENCODER_SETS]
    return [icon for icons in sets for name, icon in sorted(icons.items()) if name not in hidden]


def _package(folder: Path, name: str) -> Path:
    return folder / "node_modules" / "@iconify-json" / name


def _document(collection: dict, name: str) -> str:
    icon = collection["icons"][name]
    width = icon.get("width", collection.get("width", 16))
    height = icon.get("height", collection.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )
