"""torch.compile: no graph breaks, and as few graphs as there are distinct dilations."""

import pytest
import torch

import redilate
from redilate import Plan
from redilate.plans.plan import convolutions
from tests.compatibility.reference import damped_plan
from tests.compatibility.samples import HEIGHT, WIDTH, xl

pytestmark = pytest.mark.slow

NOTE = "one graph for each distinct set of dilations: 1 at the native size, 2 re-dilated (above and below τ)"


class Graphs:
    """A compiler backend that runs what it is given and counts it."""

    def __init__(self):
        self.count = 0

    def __call__(self, module, inputs):
        self.count += 1
        return module.forward


@pytest.fixture
def graphs():
    torch._dynamo.reset()
    yield Graphs()
    torch._dynamo.reset()


@pytest.fixture
def pipe():
    # As shallow as it goes: tracing takes its time for every layer.
    return xl("StableDiffusionXLPipeline", {"layers_per_block": 1, "transformer_layers_per_block": 1})


def draw(pipe):
    return pipe(
        "a red apple",
        width=WIDTH,
        height=HEIGHT,
        guidance_scale=4.0,
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images


def wrap(pipe, graphs):
    pipe.unet = torch.compile(pipe.unet, backend=graphs, fullgraph=True)


def in_place(pipe, graphs):
    pipe.unet.compile(backend=graphs, fullgraph=True)


def of_forward(pipe, graphs):
    pipe.unet.forward = torch.compile(pipe.unet.forward, backend=graphs, fullgraph=True)


WAYS = {"torch.compile(unet)": wrap, "unet.compile()": in_place, "unet.forward": of_forward}


@pytest.mark.parametrize(
    "compile",
    [
        pytest.param(
            way, id=name, marks=pytest.mark.compatibility("uses", f"`torch.compile`: `{name}`", NOTE)
        )
        for name, way in WAYS.items()
    ],
)
def test_a_compiled_unet_takes_one_graph_for_each_set_of_dilations(pipe, graphs, compile):
    names = convolutions(pipe.unet)
    plan = Plan(dilation=dict.fromkeys(names, (2.0, 2.0)), dispersed=frozenset(names), until=0.5)
    plain = draw(pipe)
    with redilate.apply(pipe, plan):
        eager = draw(pipe)
    compile(pipe, graphs)
    assert torch.allclose(draw(pipe), plain, atol=1e-4)
    assert graphs.count == 1
    with redilate.apply(pipe, plan):
        assert torch.allclose(draw(pipe), eager, atol=1e-4)
        first = graphs.count
        assert torch.allclose(draw(pipe), eager, atol=1e-4)
    assert first - 1 <= 2 and graphs.count == first
    assert torch.allclose(draw(pipe), plain, atol=1e-4)


@pytest.mark.compatibility("uses", "`torch.compile` with ND-CFG", "one graph more: the mild network's")
def test_nd_cfg_takes_one_graph_more(pipe, graphs):
    plan = damped_plan(pipe.unet)
    with redilate.apply(pipe, plan):
        eager = draw(pipe)
    wrap(pipe, graphs)
    with redilate.apply(pipe, plan):
        assert torch.allclose(draw(pipe), eager, atol=1e-4)
    assert graphs.count == 3


def test_windows_take_one_graph_however_they_are_shifted(pipe, graphs):
    windows = redilate.plan_for(pipe, width=WIDTH, height=HEIGHT, windows=1.0).windows
    with redilate.apply(pipe, Plan(windows=windows)):
        eager = draw(pipe)
    wrap(pipe, graphs)
    with redilate.apply(pipe, Plan(windows=windows)):
        assert torch.allclose(draw(pipe), eager, atol=1e-4)
    assert graphs.count == 1


def test_repeated_blocks_compile_apart_from_re_dilation(pipe, graphs):
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        eager = draw(pipe)
        pipe.unet.compile_repeated_blocks(backend=graphs, fullgraph=True)
        assert torch.allclose(draw(pipe), eager, atol=1e-4)
