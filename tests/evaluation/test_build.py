"""Where a model predicts: the device, and the settings of a process that predicts on a CPU."""

import pytest
import torch

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.evaluation import build
from fairseq_minimodel.evaluation.build import ready_device


@pytest.fixture
def prepared(monkeypatch):
    """How often the process was made ready for a CPU."""
    calls = []
    monkeypatch.setattr(build.cpu, "prepare_process", lambda: calls.append(1))
    return calls


@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:99", "cuda:x", "hpu", "vulkan"])
def test_a_device_that_cannot_be_used_is_refused(name, prepared):
    with pytest.raises(InputError, match=f"--device {name} cannot be used here") as raised:
        ready_device(name)
    assert len(str(raised.value).splitlines()) == 1 and len(str(raised.value)) < 300
    assert not prepared


@pytest.mark.parametrize("name", [None, "cpu", "cpu:0"])
def test_without_a_gpu_the_process_is_made_ready_for_the_cpu(name, prepared, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ready_device(name) == (name or "cpu") and prepared == [1]


def test_a_gpu_is_taken_if_there_is_one(prepared, monkeypatch):
    zeros = torch.zeros
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *sizes, device: zeros(*sizes))  # as if it worked
    assert ready_device(None) == "cuda" and not prepared
