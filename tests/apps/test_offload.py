"""The command offloads its pipeline where that is what makes a size fit, and only there."""

import pytest

from redilate import RedilateError
from redilate.apps.offload import offloading
from redilate.pipelines.memory import TooLarge


class Pipeline:
    """Counts what is asked of it; offload itself needs a GPU."""

    offloaded = 0

    def enable_model_cpu_offload(self):
        self.offloaded += 1


def test_what_fits_with_offload_alone_is_made_with_it_and_that_is_said(capsys):
    pipe = Pipeline()

    def make():
        if not pipe.offloaded:
            raise TooLarge("too large", offload=True)
        return "a picture"

    assert offloading(pipe, make) == "a picture" == offloading(pipe, make)
    assert pipe.offloaded == 1
    assert capsys.readouterr().err.count("only so it fits") == 1


@pytest.mark.parametrize("refusal", [TooLarge("too large"), RedilateError("no such size")], ids=str)
def test_any_other_refusal_stands(refusal):
    pipe = Pipeline()

    def make():
        raise refusal

    with pytest.raises(RedilateError) as stood:
        offloading(pipe, make)
    assert stood.value is refusal and not pipe.offloaded


def test_what_does_not_fit_with_offload_either_is_refused():
    pipe = Pipeline()

    def make():
        raise TooLarge("too large", offload=True)

    with pytest.raises(TooLarge):
        offloading(pipe, make)
    assert pipe.offloaded == 1
