"""Every kind of U-Net pipeline, untouched: against a slow reference, and its invariants."""

import pytest
import torch

import redilate
from redilate import Plan
from redilate.pipelines.families import controlnets_of
from redilate.plans.plan import convolutions
from tests.compatibility.reference import Recorder, damped_plan, tensors
from tests.compatibility.samples import HEIGHT, WIDTH
from tests.compatibility.zoo import SAMPLES


def cases():
    for what, (kind, make) in SAMPLES.items():
        row = pytest.mark.compatibility("pipelines", what, f"`{kind}`")
        yield pytest.param(make, id=make.__name__, marks=row)


def close(ours, reference):
    for one, other in zip(tensors(ours), tensors(reference), strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 2e-5 * max(1.0, float(other.abs().max()))


@pytest.fixture(params=list(cases()))
def sample(request):
    return request.param()


def test_a_pipeline_is_re_dilated_and_is_otherwise_what_it_was(sample):
    pipe = sample.pipe
    plain = sample.draw()
    assert plain.shape[-2:] == (HEIGHT // 8, WIDTH // 8)
    types = [type(module) for module in pipe.unet.modules()]
    within = {module for several in convolutions(pipe.unet).values() for module in several}
    assert all(type(module) is torch.nn.Conv2d for module in within)

    with redilate.apply(pipe, Plan(dilation=dict.fromkeys(convolutions(pipe.unet), (1.0, 1.0)))):
        assert torch.equal(sample.draw(), plain), "the neutral plan is the identity"

    plan = damped_plan(pipe.unet)
    with redilate.apply(pipe, plan):
        watched, controls = Recorder(pipe.unet, sample.level), [Recorder(net) for net in controlnets_of(pipe)]
        ours = sample.draw()
        changed = {
            module
            for module, kind in zip(pipe.unet.modules(), types, strict=True)
            if type(module) is not kind
        }
        assert changed == within, "nothing else, such as a film's convolutions over time"
        for one in (watched, *controls):
            one.stop()
    assert ours.shape == plain.shape and ours.isfinite().all() and not torch.equal(ours, plain)

    for one in controls:  # their own convolutions are re-dilated, and nothing is evaluated twice
        assert not one.extra
        close(one.output, one.recompute(plan.dilation))
    check_evaluations(sample, watched, plan.until)
    check_first_output(sample, watched, plan)

    assert [type(module) for module in pipe.unet.modules()] == types
    assert torch.equal(sample.draw(), plain), "removed, it draws what it drew before"


def check_evaluations(sample, watched, until):
    """One on ∅ on top of each call above τ, where there is an ∅; the whole batch again under PAG."""
    levels = [level for _, level in watched.main]
    assert max(levels) >= until
    batch = watched.main[0][0]
    assert {rows for rows, _ in watched.main} == {batch} and batch % sample.chunks == 0
    each = batch if sample.whole else batch // sample.chunks
    damped = 0 if sample.unconditional is None else sum(level >= until for level in levels)
    assert watched.extra == [each] * damped


def check_first_output(sample, watched, plan):
    """The strong network's output, plus Δ on the prediction wherever there is an ∅."""
    (strong,) = tensors(watched.recompute(plan.dilation))
    if sample.unconditional is not None:
        (mild,) = tensors(watched.recompute(plan.noise_damping.dilation))
        delta = (mild - strong).chunk(sample.chunks)[sample.unconditional].clone()
        if delta.dim() == 4:
            delta[:, 4:] = 0  # a learned variance stays the strong network's
        strong = strong + delta.repeat(sample.chunks, *[1] * (delta.dim() - 1))
    close(watched.output, strong)
