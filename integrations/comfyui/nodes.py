"""The nodes in ComfyUI's V3 form."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .model import redilate_model
from .relay import relay
from .words import CATEGORY, MODEL, RELAY


class RedilateModel(io.ComfyNode):
    """See `model.redilate_model`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RedilateModel",
            display_name=MODEL.title,
            category=CATEGORY,
            description=MODEL.description,
            inputs=[
                io.Model.Input("model"),
                io.Int.Input("native_size", **MODEL.numbers["native_size"]),
                io.Float.Input("until", **MODEL.numbers["until"]),
                io.String.Input("plan", multiline=True, default="", optional=True, tooltip=MODEL.plan),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, native_size, until, plan="") -> io.NodeOutput:
        return io.NodeOutput(redilate_model(model, native_size, until, plan))


class RedilateRelay(io.ComfyNode):
    """See `relay.relay`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RedilateRelay",
            display_name=RELAY.title,
            category=CATEGORY,
            description=RELAY.description,
            inputs=[
                io.Model.Input("model"),
                io.Latent.Input("latent"),
                io.Sigmas.Input("sigmas"),
                io.Int.Input("width", **RELAY.numbers["width"]),
                io.Int.Input("height", **RELAY.numbers["height"]),
                io.Float.Input("start", **RELAY.numbers["start"]),
            ],
            outputs=[io.Latent.Output(), io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, model, latent, sigmas, width, height, start) -> io.NodeOutput:
        return io.NodeOutput(*relay(model, latent, sigmas, width, height, start))


class RedilateExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [RedilateModel, RedilateRelay]


async def comfy_entrypoint() -> ComfyExtension:
    """What ComfyUI calls when it loads this folder."""
    return RedilateExtension()
