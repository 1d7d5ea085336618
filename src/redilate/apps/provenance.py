"""Which weights draw, on what: what a picture must say for it to be made again, and how two such notes differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .arguments import lora_name, model_name

if TYPE_CHECKING:
    import torch

    from .recorded import Recorded

# Values looked at in each tensor: a fingerprint of gigabytes must cost nothing.
_SAMPLES = 16


def provenance(
    pipe: Any,
    model: str | None,
    *,
    vae: str | None = None,
    lora: Sequence[str] = (),
    controlnet: str | None = None,
) -> dict[str, Any]:
    """What a picture's settings say of a loaded pipeline, beside the generation's own.

    Returns:
        `model` (its name), `fingerprint`, `device` and `dtype`; `vae`, `lora` and `controlnet`, by their names, where
        they are not the model's own.
    """
    from redilate.pipelines.sparing import execution_device

    return {
        "model": model_name(model),
        **({} if vae is None else {"vae": model_name(vae)}),
        **({"lora": [lora_name(one) for one in lora]} if lora else {}),
        **({} if controlnet is None else {"controlnet": model_name(controlnet)}),
        "fingerprint": fingerprint(pipe),
        "device": execution_device(pipe).type,
        "dtype": str(pipe.unet.dtype).removeprefix("torch."),
    }


def fingerprint(pipe: Any) -> str:
    """Twelve hex digits that differ where weights differ: a hash of every tensor's name, shape and some values.

    It tells trainings apart, and float32 from bfloat16; it is no proof against somebody who wants two to be alike.
    """
    import torch

    told: list[tuple[str, int]] = []  # what a tensor is called, and how many of the values are its
    values: dict[torch.device, list[torch.Tensor]] = {}
    order: list[tuple[torch.device, int]] = []
    for part, module in sorted(pipe.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        for name, tensor in sorted(module.state_dict().items()):
            few = [] if tensor.is_meta else [_few(tensor)]  # sequential offload keeps the values elsewhere
            values.setdefault(tensor.device, []).extend(few)
            told.append((f"{part}.{name}{tuple(tensor.shape)}", sum(one.numel() for one in few)))
            order.append((tensor.device, len(few)))
    # One copy from each device, and not one, with a wait, for each of some thousand tensors.
    read = {device: torch.cat(found).cpu().numpy() for device, found in values.items() if found}
    digest, at = blake2b(digest_size=6), dict.fromkeys(read, 0)
    for (name, count), (device, has) in zip(told, order, strict=True):
        digest.update(name.encode())
        if has:
            digest.update(read[device][at[device] : at[device] + count].tobytes())
            at[device] += count
    return digest.hexdigest()


def _few(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    flat = tensor.detach().flatten()
    # In half precision a float32 file is the same model, loaded as float32 or as float16.
    return flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].to(torch.float16)


def differences(recorded: Recorded, made_by: Mapping[str, str], versions: Mapping[str, str]) -> list[str]:
    """Why a picture made now may not be the recorded one bit for bit, a phrase for each reason.

    Args:
        recorded: what the picture says.
        made_by: `provenance` of the pipeline that draws now.
        versions: `generation.settings.versions()`.
    """
    now = dict(made_by)
    if recorded.model != now["model"]:
        return [f"it was made with the model {recorded.model!r}, not {now['model']!r}"]
    if recorded.controlnet != now.get("controlnet"):
        before, after = (name or "none" for name in (recorded.controlnet, now.get("controlnet")))
        return [f"its ControlNet was {before}, and is {after} now; --controlnet and --control say it"]
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
