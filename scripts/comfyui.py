"""Run the nodes in a real ComfyUI: COMFYUI=folder [PYTHON=its python] python scripts/comfyui.py [WORKFLOW …]

Starts the checkout's server on the CPU with a folder of the nodes as `comfyui_folder.py` builds it, sends every example
workflow to it through the HTTP API, on random tiny weights, and holds against FreeScale's list which convolutions torch
was asked to dilate, at which noise levels. Prints a table for docs/comfyui.md; ends with 1 if anything is not as it
should be. Nothing is written in the checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from comfyui_folder import NODES, build
from PIL import Image, ImageChops

HERE = Path(__file__).parent
# Of the stand-in's U-Nets: the second downsampler, all below it and the middle. Both have these numbers.
DEEP = re.compile(r"(input_blocks\.(4\.0\.op|5\.|6\.|7\.)|middle_block\.[02]\.)")
UNTIL = 300  # of a thousand timesteps
STEPS = 10  # in place of the workflows' own, for time
STARTING, RUNNING = 180, 900  # seconds
# Nodes of ComfyUI's own that ours lie beside; versions of 2025 had other names for these places.
BESIDE = ("PatchModelAddDownscale", "VAEDecodeTiled")
# What people combine with ours: each before ours and after. SPOILERS only come after.
OTHERS = (
    "StandInLora",
    "FreeU_V2",
    "RescaleCFG",
    "PerturbedAttentionGuidance",
    "SelfAttentionGuidance",
    "HyperTile",
    "PatchModelAddDownscale",
)
SPOILERS = ("StandInAfterNodes",)
SAMPLERS = ("euler_ancestral", "dpmpp_2m_sde", "heun", "uni_pc", "lcm", "euler_cfg_pp")
Api = dict[str, dict[str, Any]]


@dataclass
class Server:
    """A ComfyUI under way."""

    port: int
    folder: Path
    process: subprocess.Popen

    def ask(self, path: str, body: dict | None = None) -> Any:
        text = self.read(path, body)
        return json.loads(text) if text else None

    def read(self, path: str, body: dict | None = None) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{path}: {error.read().decode()[:2000]}") from error

    def run(self, prompt: Api) -> list[Path]:
        """Send a workflow, every node of which is run; the pictures that it saved."""
        while self.ask("/queue")["queue_running"]:
            time.sleep(0.5)
        self.ask("/free", {"unload_models": True, "free_memory": True})
        time.sleep(3)  # it is done by the thread that runs workflows, which must not come to this one first
        started = time.monotonic()
        name = self.ask("/prompt", {"prompt": prompt})["prompt_id"]
        while time.monotonic() < started + RUNNING:
            if name in (history := self.ask(f"/history/{name}")):
                status = history[name]["status"]
                if status["status_str"] != "success":
                    raise SystemExit(json.dumps(status["messages"][-1], indent=1)[:3000])
                images = [one for node in history[name]["outputs"].values() for one in node.get("images", ())]
                return [self.folder / "output" / one["subfolder"] / one["filename"] for one in images]
            time.sleep(0.5)
        raise SystemExit(f"a workflow took more than {RUNNING} s")

    @property
    def calls(self) -> list[dict]:
        """What the witness saw of each call of a U-Net, from the first."""
        seen = self.folder / "seen.jsonl"
        return [json.loads(line) for line in seen.read_text().splitlines()] if seen.exists() else []

    @property
    def log(self) -> list[str]:
        return (self.folder / "log.txt").read_text().splitlines()


@contextmanager
def server(checkout: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        for name in ("custom_nodes", "input", "output", "temp", "user", "models"):
            (folder / name).mkdir()
        build(folder / "custom_nodes" / "comfyui-redilate")
        shutil.copytree(HERE / "comfyui_stand_in", folder / "custom_nodes" / "stand_in")
        Image.linear_gradient("L").resize((512, 512)).convert("RGB").save(folder / "input" / "example.png")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [os.environ.get("PYTHON", sys.executable), "main.py", "--cpu", "--port", str(port)]
        command += ["--listen", "127.0.0.1", "--base-directory", str(folder), "--disable-auto-launch"]
        command += ["--database-url", f"sqlite:///{folder}/comfyui.db"]
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=checkout,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ
                | {"REDILATE_SEEN": str(folder / "seen.jsonl"), "PYTHONDONTWRITEBYTECODE": "1"},
            )
            up = Server(port, folder, process)
            try:
                _wait(up)
                yield up
            finally:
                process.terminate()
                process.wait()
                if wanted := os.environ.get("LOG"):
                    shutil.copy(folder / "log.txt", wanted)


def _wait(up: Server) -> None:
    started = time.monotonic()
    while time.monotonic() < started + STARTING:
        if up.process.poll() is not None:
            break
        try:
            up.ask("/system_stats")
            return
        except OSError:
            time.sleep(1)
    raise SystemExit("ComfyUI did not start:\n" + "\n".join(up.log[-30:]))


def as_prompt(workflow: dict, known: dict) -> Api:
    """A workflow as people save it → as the API takes it. `known`: what the server says of each node's inputs."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt: Api = {}
    for node in workflow["nodes"]:
        inputs = {one["name"]: sources[one["link"]] for one in node["inputs"] if one["link"] is not None}
        values = list(node["widgets_values"])
        declared = known[node["type"]]["input"]
        for name, (kind, *settings) in (declared.get("required", {}) | declared.get("optional", {})).items():
            if name in inputs or not (isinstance(kind, list) or kind in _WIDGETS) or not values:
                continue
            value = values.pop(0)
            inputs[name] = min(value, STEPS) if name == "steps" else value
            options = settings[0] if settings else {}
            if options.get("control_after_generate") or options.get("image_upload"):
                values.pop(0)
        if values:
            raise SystemExit(f"{node['type']} has {len(values)} more values than inputs: {values}")
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def without_nodes(prompt: Api) -> Api:
    """The hires workflow's native pass alone, saved: a plain ComfyUI."""
    small = next(key for key, node in prompt.items() if node["class_type"] == "VAEDecode")
    wanted = {small}
    while True:
        linked = {
            value[0] for key in wanted for value in prompt[key]["inputs"].values() if isinstance(value, list)
        }
        if linked <= wanted:
            break
        wanted |= linked
    save = {"class_type": "SaveImage", "inputs": {"images": [small, 0], "filename_prefix": "plain"}}
    return {key: prompt[key] for key in wanted} | {"save": save}


def listed(up: Server, known: dict) -> list[str]:
    """What is wrong with how the nodes are shown: place, tooltips, search words, help pages, templates."""
    wrong = []
    ours = {name: node for name, node in known.items() if name.startswith("Redilate")}
    places = [known[name]["category"] for name in BESIDE]
    for name, node in ours.items():
        if node["category"] not in places and places[0].startswith("model/"):
            wrong.append(f"{name} lies in {node['category']}, others of its kind in {places}")
        if "search_aliases" in node and not node["search_aliases"]:
            wrong.append(f"{name} has no search words")
        for key, (_, *settings) in (node["input"]["required"] | node["input"].get("optional", {})).items():
            if not settings or not settings[0].get("tooltip"):
                wrong.append(f"{name}: {key} has no tooltip")
        if not up.read(f"/extensions/comfyui-redilate/docs/{name}.md").startswith(b"# "):
            wrong.append(f"{name} has no help page")
    files = {file.stem for file in (NODES / "example_workflows").glob("*.json")}
    if set(up.ask("/workflow_templates").get("comfyui-redilate", [])) != files:
        wrong.append("the example workflows are not among the templates")
    if len(ours) != 4:
        wrong.append(f"there are {len(ours)} nodes: {sorted(ours)}")
    return wrong


def variants(prompts: dict[str, Api], known: dict) -> dict[str, Api]:
    """The workflows with more in them: what other nodes do to a MODEL, a ControlNet, samplers, an upscale model."""
    found = {}
    for where in ("before", "after"):
        hires = found[f"hires_ksampler, {len(OTHERS)} other nodes {where}"] = _copy(prompts["hires_ksampler"])
        ours = next(key for key, node in hires.items() if node["class_type"] == "RedilateModel")
        chain = OTHERS if where == "before" else (*OTHERS, *SPOILERS)
        first, last = _chain(hires, chain, known)
        if where == "before":
            hires[first]["inputs"]["model"], hires[ours]["inputs"]["model"] = (
                hires[ours]["inputs"]["model"],
                [last, 0],
            )
            continue
        for node in hires.values():
            if node["inputs"].get("model") == [ours, 0]:
                node["inputs"]["model"] = [last, 0]
        hires[first]["inputs"]["model"] = [ours, 0]
    control = found["hires_ksampler, a ControlNet in the large pass"] = _copy(prompts["hires_ksampler"])
    large = next(node for node in control.values() if node["inputs"].get("denoise", 1) < 1)["inputs"]
    picture = next(key for key, node in control.items() if node["class_type"] == "ImageScale")
    control["network"] = {"class_type": "StandInControlNet", "inputs": {}}
    followed = {name: large[name] for name in ("positive", "negative")}
    followed |= {"control_net": ["network", 0], "image": [picture, 0]}
    followed |= {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    control["apply"] = {"class_type": "ControlNetApplyAdvanced", "inputs": followed}
    large |= {"positive": ["apply", 0], "negative": ["apply", 1]}
    for sampler in SAMPLERS:
        sampled = found[f"hires_ksampler, {sampler}"] = _copy(prompts["hires_ksampler"])
        for node in sampled.values():
            node["inputs"] |= {"sampler_name": sampler} if node["class_type"] == "KSampler" else {}
    enlarge = found["enlarge_picture, with an upscale model"] = _copy(prompts["enlarge_picture"])
    for node in enlarge.values():
        if node["class_type"] == "RedilateUpscale":
            node["inputs"]["upscale_model"] = ["network", 0]
    enlarge["network"] = {"class_type": "StandInFourfold", "inputs": {}}
    return found


def _chain(prompt: Api, names: tuple[str, ...], known: dict) -> tuple[str, str]:
    """Add nodes that take a MODEL and give one, in a row, with their defaults; the keys of the first and the last."""
    for number, name in enumerate(names):
        declared = known[name]["input"]["required"]
        values = {key: _default(*kind) for key, kind in declared.items() if key != "model"}
        before = {"model": [names[number - 1], 0]} if number else {}
        prompt[name] = {"class_type": name, "inputs": values | before}
    return names[0], names[-1]


def _default(kind: Any, settings: dict | None = None) -> Any:
    settings = settings or {}
    options = kind if isinstance(kind, list) else settings.get("options")
    return settings.get("default", options[0] if options else None)


def _copy(prompt: Api) -> Api:
    return json.loads(json.dumps(prompt))


def plain(up: Server, prompt: Api) -> str:
    """The hash of the pixels of a picture that none of our nodes had a part in, drawn anew."""
    seen = len(up.calls)
    (path,) = up.run(prompt)
    if len(up.calls) == seen:
        raise SystemExit("the plain picture was not drawn anew")
    return hashlib.sha256(Image.open(path).tobytes()).hexdigest()


def exact(up: Server, prompt: Api) -> int:
    """How far pictures by the exact VAE nodes are at most from those by ComfyUI's own, of 255: of `without_nodes`."""
    (small,) = (key for key, node in prompt.items() if node["class_type"] == "VAEDecode")
    vae = {"vae": prompt[small]["inputs"]["vae"]}
    nodes = {key: node for key, node in prompt.items() if key != "save"}
    nodes["decoded"] = prompt[small] | {"class_type": "RedilateVAEDecode"}
    for kind in ("VAEEncode", "RedilateVAEEncode"):
        nodes[kind] = {"class_type": kind, "inputs": vae | {"pixels": [small, 0]}}
        nodes[f"{kind} decoded"] = {"class_type": "VAEDecode", "inputs": vae | {"samples": [kind, 0]}}
    pairs = [(small, "decoded"), ("VAEEncode decoded", "RedilateVAEEncode decoded")]
    for number, key in enumerate(key for pair in pairs for key in pair):
        images = {"images": [key, 0], "filename_prefix": f"exact{number}"}
        nodes[f"save {number}"] = {"class_type": "SaveImage", "inputs": images}
    paths = sorted(up.run(nodes))
    apart = [
        ImageChops.difference(Image.open(a), Image.open(b)).getextrema()
        for a, b in zip(paths[::2], paths[1::2], strict=True)
    ]
    return max(high for channels in apart for _, high in channels)


def judged(calls: list[dict]) -> tuple[list[str], list[str]]:
    """Of one workflow's calls: a line for each size, and what is wrong."""
    lines, wrong = [], []
    smallest = min(call["size"][0] * call["size"][1] for call in calls)
    for size in sorted({tuple(call["size"]) for call in calls}):
        here = [call for call in calls if tuple(call["size"]) == size]
        large = len({tuple(call["size"]) for call in calls}) == 1 or size[0] * size[1] > smallest
        for call in here:
            names = {name for name, *_ in call["dilated"]}
            steps = {tuple(step) for _, *step in call["dilated"]}
            due = large and call["timestep"] >= UNTIL
            if due and not (steps == {(2, 2)} and names and all(map(DEEP.match, names)) and len(names) >= 7):
                wrong.append(f"{size} at {call['timestep']:.0f}: {len(names)} dilated by {steps}")
            if not due and names:
                wrong.append(f"{size} at {call['timestep']:.0f}: {len(names)} dilated, none should be")
        dilated = [call for call in here if call["dilated"]]
        what = "none"
        if dilated:
            last = min(call["timestep"] for call in dilated) / 1000
            what = f"{dilated[0]['number']} by 2, {dilated[0]['timestep'] / 1000:.2f} to {last:.2f}"
        lines.append(f"{size[1] * 8}×{size[0] * 8}: {what}")
    return lines, wrong


def main() -> None:
    checkout = Path(os.environ.get("COMFYUI", ""))
    if not (checkout / "main.py").is_file():
        raise SystemExit(
            "set COMFYUI to a checkout of ComfyUI, and PYTHON to a Python that has its requirements"
        )
    with server(checkout) as up:
        stats = up.ask("/system_stats")["system"]
        known = up.ask("/object_info")
        wrong = listed(up, known)
        files = sorted((NODES / "example_workflows").glob("*.json"))
        prompts = {file.stem: as_prompt(json.loads(file.read_text()), known) for file in files}
        prompts |= variants(prompts, known)
        before = plain(up, without_nodes(prompts["hires_ksampler"]))
        print(f"ComfyUI {stats['comfyui_version']}, torch {stats['pytorch_version']}, {date.today()}\n")
        print("| workflow | at each size: dilated convolutions, noise levels |\n|---|---|")
        for name, prompt in prompts.items():
            if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
                continue
            seen = len(up.calls)
            path, *_ = up.run(prompt)
            lines, faults = judged(up.calls[seen:])
            wrong += [f"{name}: {fault}" for fault in faults]
            if Image.open(path).size != tuple(8 * side for side in up.calls[-1]["size"][::-1]):
                wrong.append(f"{name}: the picture has {Image.open(path).size}")
            print(f"| {name} | {'; '.join(lines)} |", flush=True)
        same = plain(up, without_nodes(prompts["hires_ksampler"])) == before
        print(
            f"| without a node of ours, before and after | none, {'the same bits' if same else 'CHANGED'} |"
        )
        wrong += [] if same else ["the plain picture changed"]
        apart = exact(up, without_nodes(prompts["hires_ksampler"]))
        print(f"| the exact VAE nodes against ComfyUI's own | at most {apart} of 255 apart |\n")
        wrong += [] if apart <= 1 else [f"the exact VAE nodes' pictures are {apart} apart"]
        wrong += [line for line in up.log if "IMPORT FAILED" in line and "redilate" in line]
        print("\n".join(line[line.index("Redilate:") :] for line in up.log if "Redilate:" in line))
    if wrong:
        raise SystemExit("\n".join(["", "not as it should be:", *wrong]))


if __name__ == "__main__":
    main()
