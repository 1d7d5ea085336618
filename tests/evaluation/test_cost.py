import numpy as np
import pytest
import torch

import redilate
from redilate.evaluation.cost import metered
from tests.models import tiny_sdxl

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipe():
    return tiny_sdxl()


@pytest.mark.parametrize(("guidance", "samples"), [(5.0, 6), (1.0, 3)])
def test_every_sample_through_the_unet_is_counted(pipe, guidance, samples):
    with metered(pipe.unet, CPU) as cost:
        redilate.generate(pipe, "fox", width=256, height=256, steps=3, guidance=guidance, method="direct")
    assert cost.evaluations == samples
    assert cost.seconds > 0


def test_noise_damping_costs_its_second_evaluation(pipe):
    plan = redilate.plan_for(pipe, width=512, height=256, strength=1)
    damped = plan.model_copy(update={"noise_damping": redilate.NoiseDamping(dilation={}, until=0.0)})
    found = []
    for one in (plan, damped):
        with metered(pipe.unet, CPU) as cost:
            redilate.generate(pipe, "fox", width=512, height=256, strength=1, steps=2, plan=one)
        found.append(cost.evaluations)
    assert found[0] == 4 < found[1] <= 8


def test_peak_memory_is_seen_though_it_is_given_back():
    unet = torch.nn.Conv2d(1, 1, 1)
    with metered(unet, CPU) as idle:
        pass
    with metered(unet, CPU) as cost:
        block = np.ones(40 * 2**20, dtype=np.float64)  # 320 MiB
        unet(torch.zeros(5, 1, 4, 4))
        del block
    assert cost.memory > idle.memory + 250
    assert cost.evaluations == 5


def test_nothing_stays_on_the_unet(pipe):
    with pytest.raises(KeyboardInterrupt), metered(pipe.unet, CPU):
        raise KeyboardInterrupt
    assert not pipe.unet._forward_pre_hooks


@pytest.mark.gpu
def test_on_cuda_it_is_what_torch_allocated():
    unet = torch.nn.Conv2d(1, 1, 1).cuda()
    before = torch.cuda.memory_allocated() / 2**20
    with metered(unet, torch.device("cuda")) as cost:
        block = torch.ones(2**26, device="cuda")  # 256 MiB
        del block
    assert cost.memory == pytest.approx(before + 256, abs=8)
