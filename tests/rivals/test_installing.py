"""What holds for every method that changes a U-Net: neutral at the native size, gone afterwards, alone."""

import pytest
import torch

import redilate
from redilate import RedilateError
from redilate.rivals.attention_scaling import attention_scaling
from redilate.rivals.demofusion import fused_paths
from redilate.rivals.fouriscale import fouriscale
from redilate.rivals.freeu import freeu
from redilate.rivals.hidiffusion import hidiffusion
from redilate.rivals.multidiffusion import multidiffusion
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import predict

METHODS = {
    "attention_scaling": attention_scaling,
    "multidiffusion": multidiffusion,
    "hidiffusion": hidiffusion,
    "fouriscale": fouriscale,
    "demofusion": lambda pipe, **options: fused_paths(pipe, 2, **options),
}


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    return request.param()


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def traces(unet):
    """All that a method might leave behind: classes, and whatever stands in the modules besides weights."""
    return [
        (type(module), sorted(module.__dict__), len(module._forward_hooks), len(module._forward_pre_hooks))
        for module in unet.modules()
    ]


def test_at_the_native_size_a_prediction_is_the_plain_one_bit_for_bit(pipe, method):
    plain = predict(pipe, 8, 8)
    with method(pipe, native_size=64):
        assert torch.equal(predict(pipe, 8, 8), plain)


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (14, 14), (9, 13)])
def test_above_it_a_prediction_of_any_size_is_another_and_the_plain_one_comes_back(pipe, method, size):
    before, plain = traces(pipe.unet), predict(pipe, *size)
    with method(pipe, native_size=64):
        changed = predict(pipe, *size)
    assert changed.shape == plain.shape and torch.isfinite(changed).all()
    assert not torch.equal(changed, plain)
    assert traces(pipe.unet) == before
    assert torch.equal(predict(pipe, *size), plain)


def test_an_exception_in_the_network_leaves_no_trace(pipe, method):
    before, plain = traces(pipe.unet), predict(pipe, 16, 16)

    def fail(*_):
        raise KeyboardInterrupt

    hook = pipe.unet.mid_block.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt), method(pipe, native_size=64):
        predict(pipe, 16, 16)
    hook.remove()
    assert traces(pipe.unet) == before
    assert torch.equal(predict(pipe, 16, 16), plain)


def test_two_methods_at_once_are_refused(pipe, method):
    before = traces(pipe.unet)
    with (
        attention_scaling(pipe),
        pytest.raises(RedilateError, match="draws with attention_scaling already"),
        method(pipe),
    ):
        pass
    assert traces(pipe.unet) == before


def test_a_redilated_pipeline_is_refused(pipe, method):
    with (
        redilate.apply(pipe),
        pytest.raises(RedilateError, match=r"call redilate\.remove\(pipe\) before"),
        method(pipe),
    ):
        pass


def test_a_compiled_network_is_refused(method):
    pipe = tiny_sdxl()
    pipe.unet = torch.compile(pipe.unet)
    with pytest.raises(RedilateError, match="compiled"), method(pipe):
        pass


def test_freeu_goes_back_to_what_was_set_before(pipe):
    before, plain = traces(pipe.unet), predict(pipe, 16, 16)
    with freeu(pipe):
        ours = predict(pipe, 16, 16)
    assert traces(pipe.unet) == before and torch.equal(predict(pipe, 16, 16), plain)
    pipe.unet.enable_freeu(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
    theirs = predict(pipe, 16, 16)
    with freeu(pipe, b1=2.0):
        assert not torch.equal(predict(pipe, 16, 16), theirs)
    assert torch.equal(predict(pipe, 16, 16), theirs) and torch.equal(ours, theirs)
    pipe.unet.disable_freeu()


def test_freeu_refuses_a_factor_that_there_is_not(pipe):
    with pytest.raises(RedilateError, match="s1, s2, b1, b2, and no b3"), freeu(pipe, b3=1.0):
        pass
