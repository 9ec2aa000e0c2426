import pytest

from fairseq_minimodel.cost.gpus import peak_of


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-32GB", 125),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
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
def test_a_gpu_is_known_by_the_name_that_cuda_has_for_it(name, tflops):
    assert peak_of(name) == (None if tflops is None else tflops * 1e12)
