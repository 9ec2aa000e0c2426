"""Settings of the process: faster, and results as before."""

import platform

import pytest
import torch
from conftest import run

from fairseq_minimodel.nn import cpu


@pytest.fixture(autouse=True)
def precision(monkeypatch):
    """As it was before; and no test changes how the process allocates memory."""
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(cpu.sys, "platform", "none that has mallopt")
    yield
    torch.set_float32_matmul_precision(before)


def test_products_stay_those_of_float32():
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(300, 300, generator=generator) for _ in range(2))
    cpu.prepare_process()
    product = (x @ y).double()
    exact = x.double() @ y.double()
    assert (product - exact).norm() < 2e-6 * exact.norm()  # with bfloat16 it would be 2e-3


def test_the_precision_is_left_alone_where_it_would_round(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    torch.set_float32_matmul_precision("highest")
    cpu.prepare_process()
    assert torch.get_float32_matmul_precision() == "highest"


FAULTS = """
import resource, torch
from fairseq_minimodel.nn.cpu import prepare_process

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(20_000_000)  # 80 MB, and freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def fewest():
    return min(faults() for _ in range(5))  # a small block may lie in the way once

before = fewest()
prepare_process()
print(before, fewest())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_memory_that_is_freed_is_not_fetched_again_page_by_page():
    # in one process of four, whose heap lies where it cannot grow, glibc has none to keep
    assert any(are_pages_kept() for _ in range(6))


def are_pages_kept():
    before, after = map(int, run(["python", "-c", FAULTS]).stdout.split())
    return before > 10 * after
