"""What GPUs can do at most, after their datasheets."""

import re

# Peak of dense matrix products in fp16 and bf16 (V100, T4: fp16 alone), in FLOP/s, and memory in GB,
# after NVIDIA's datasheets. V100, A100, H100 and H200 are the SXM forms. Where a datasheet has the
# rate with 2:4 sparsity only (L4, H100, H200), it is halved here.
GPUS = {
    "T4": (65e12, 16),
    "V100-16GB": (125e12, 16),
    "V100-32GB": (125e12, 32),
    "A100-40GB": (312e12, 40),
    "A100-80GB": (312e12, 80),
    "L4": (121e12, 24),
    "L40S": (362e12, 48),
    "H100": (989e12, 80),
    "H200": (989e12, 141),
}
# Words in CUDA's names of slower forms of these, or of parts of one. (The A100 for PCIe has the same
# peak as the SXM form.)
SLOWER, PART = {"PCIE", "PCIe", "NVL"}, "MIG"


def peak_of(name: str) -> float | None:
    """The peak rate, in FLOP/s, of a GPU by CUDA's name for it ("NVIDIA A100-SXM4-80GB").

    Returns: dense matrix products in 16 bits; None for a GPU that is not in the table.
    """
    words = set(re.split(r"[ -]", name))
    if PART in words or (SLOWER & words and "A100" not in words):
        return None
    return next((peak for gpu, (peak, _) in GPUS.items() if gpu.split("-")[0] in words), None)
