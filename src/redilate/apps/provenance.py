"""Which weights draw, on what: what a picture must say for it to be made again, and how two such notes differ."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .arguments import model_name

if TYPE_CHECKING:
    from .recorded import Recorded

# Values looked at in each tensor: a fingerprint of gigabytes must cost nothing.
_SAMPLES = 16


def provenance(pipe: Any, model: str | None) -> dict[str, str]:
    """What a picture's settings say of a loaded pipeline, beside the generation's own.

    Returns:
        `model` (its name), `fingerprint`, `device` and `dtype`.
    """
    return {
        "model": model_name(model),
        "fingerprint": fingerprint(pipe),
        "device": pipe.device.type,
        "dtype": str(pipe.unet.dtype).removeprefix("torch."),
    }


def fingerprint(pipe: Any) -> str:
    """Twelve hex digits that differ where weights differ: a hash of every tensor's name, shape and some values.

    It tells trainings apart, and float32 from bfloat16; it is no proof against somebody who wants two to be alike.
    """
    import torch

    digest = blake2b(digest_size=6)
    for part, module in sorted(pipe.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{part}.{name}{tuple(tensor.shape)}".encode())
            if tensor.is_meta:  # sequential offload keeps the values elsewhere
                continue
            values = tensor.detach().flatten()
            values = values[:: max(1, values.numel() // _SAMPLES)][:_SAMPLES]
            # In half precision a float32 file is the same model, loaded as float32 or as float16.
            digest.update(values.to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()


def differences(recorded: Recorded, made_by: Mapping[str, str], versions: Mapping[str, str]) -> list[str]:
    """Why a picture made now may not be the recorded one bit for bit, a phrase for each reason.

    Args:
        recorded: what the picture says.
        made_by: `provenance` of the pipeline that draws now.
        versions: `generation.generate.versions()`.
    """
    now = dict(made_by)
    if recorded.model != now["model"]:
        return [f"it was made with the model {recorded.model!r}, not {now['model']!r}"]
    found = []
    if recorded.fingerprint is not None and recorded.fingerprint != now["fingerprint"]:
        found.append(
            f"the model {recorded.model!r} has other weights now ({now['fingerprint']}, not {recorded.fingerprint})"
        )
    for name in ("device", "dtype"):
        before = getattr(recorded, name)
        if before is not None and before != now[name]:
            found.append(f"it was made in {before}, not {now[name]}" if name == "dtype" else
                         f"it was made on {before}, not {now[name]}")  # fmt: skip
    for package, version in versions.items():
        before = recorded.versions.get(package)
        if before != version:
            found.append(f"it was made with {package} {before or 'unknown'}, not {version}")
    return found
