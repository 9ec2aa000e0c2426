import pytest

from fairseq_minimodel.cost.gpus import GPUS, peak_of

# Multiprocessors, multiply-adds of 16 bits in one of them a cycle, boost clock in GHz: what NVIDIA's
# papers on the architectures say; a multiply-add is two operations.
CHIPS = {
    "T4": (40, 512, 1.59),
    "V100": (80, 512, 1.53),
    "A100": (108, 1024, 1.41),
    "L4": (58, 512, 2.04),
    "L40S": (142, 512, 2.52),
    "H100": (132, 2048, 1.83),
    "H200": (132, 2048, 1.83),
}


@pytest.mark.parametrize("gpu", GPUS)
def test_a_peak_is_what_the_chip_can_do_in_its_cycles(gpu):
    multiprocessors, multiply_adds, clock = CHIPS[gpu.split("-")[0]]
    assert GPUS[gpu][0] == pytest.approx(
        2 * multiprocessors * multiply_adds * clock * 1e9, rel=0.02
    )


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-32GB", "V100-32GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        # slower forms, a part of a GPU, and others of similar names
        ("Tesla V100-PCIE-16GB", None),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA L40", None),
        ("NVIDIA A10", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_gpu_is_known_by_the_name_that_cuda_has_for_it(name, gpu):
    assert peak_of(name) == (gpu and GPUS[gpu][0])
