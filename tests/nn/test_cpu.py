"""Settings of the process: asked for where they help, and results as before."""

import pytest
import torch

from fairseq_minimodel.nn import cpu


def test_products_stay_those_of_float32(monkeypatch):
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(cpu.sys, "platform", "none that has mallopt")
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(300, 300, generator=generator) for _ in range(2))
    try:
        cpu.prepare_process()
        product = (x @ y).double()
    finally:
        torch.set_float32_matmul_precision(before)
    exact = x.double() @ y.double()
    assert (product - exact).norm() < 2e-6 * exact.norm()  # with bfloat16 it would be 2e-3


class RecordedLibrary:
    def __init__(self, names):
        self.names, self.calls = names, []

    def __getattr__(self, name):
        if name not in self.names:
            raise AttributeError(name)
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
def settings(monkeypatch):
    """Runs `prepare_process` on a pretended system; returns what it set."""

    def prepare(amx=False, platform="linux", library=("mallopt", "gnu_get_libc_version")):
        precisions, libc = [], RecordedLibrary(library)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
        monkeypatch.setattr(cpu.sys, "platform", platform)
        monkeypatch.setattr(cpu.ctypes, "CDLL", lambda _: libc)
        cpu.prepare_process()
        return precisions, libc.calls

    return prepare


def test_freed_memory_is_kept_by_glibc_alone(settings):
    # glibc's malloc.h: M_TRIM_THRESHOLD is -1, M_MMAP_MAX is -4
    assert settings()[1] == [("mallopt", -1, 2**31 - 1), ("mallopt", -4, 0)]
    assert settings(library=("mallopt",))[1] == []
    assert settings(platform="darwin")[1] == []


def test_the_precision_is_left_alone_where_it_would_round(settings):
    assert settings()[0] == ["medium"]
    assert settings(amx=True)[0] == []
