"""Where the time of a step of adaptation goes: shares of the kinds of work, by PyTorch's profiler.

    python benchmarks/step_profile.py [VARIANT...]

A variant is one of benchmarks/adaptation.py; "ours, 4 layers, bf16" and "ours, 4 layers" if none is
given. One thread. Prints a Markdown table. The profiler makes each operation a little longer, and so
the shares of many small ones a little larger than they are.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from adaptation import VARIANTS
from training import Case, machine, trainer_step

STEPS = 8
# The innermost of these that an operation runs for says what it is.
OWNERS = {
    "_Zeroed": "dropout",
    "_ZeroedBackward": "dropout",
    "_LinearCrossEntropy": "softmax of the vocabulary",
    "_LinearCrossEntropyBackward": "softmax of the vocabulary",
}
WORK = {
    "products": ("mm", "addmm", "bmm", "baddbmm", "_mkldnn_linear", "mkldnn_linear"),
    "softmax of attention": ("_softmax", "_softmax_backward_data"),
    "GELU": ("gelu", "gelu_backward"),
    "LayerNorm": ("native_layer_norm", "native_layer_norm_backward"),
    "copies and conversions": ("copy_", "cat", "index_copy", "clone"),
    "sums of tensors": ("add", "add_", "mul"),
    "rows of the embeddings": ("index", "index_add_", "index_put_", "embedding_dense_backward"),
    "optimiser": ("_fused_adamw_", "mul_", "linalg_vector_norm", "_foreach_norm"),
}
KINDS = {f"aten::{name}": kind for kind, names in WORK.items() for name in names}
REST = "the rest: small operations, autograd, Python"


def main() -> None:
    names = sys.argv[1:] or ["ours, 4 layers, bf16", "ours, 4 layers"]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        sys.exit(f'no variant is called "{unknown[0]}": {"; ".join(VARIANTS)}')
    shares = [shares_of(VARIANTS[name]) for name in names]

    from fairseq_minimodel.terminal.table import format_table

    total = sum(shares, Counter())
    kinds = sorted(total, key=lambda kind: (kind == REST, -total[kind]))
    rows = [[kind, *(f"{100 * one[kind]:.1f} %" for one in shares)] for kind in kinds]
    print(format_table(["work", *names], rows))
    print(f"\n{', '.join(f'{key} {value}' for key, value in machine().items())}")


def shares_of(case: Case) -> Counter:
    """The share of each kind of work in the time of a step."""
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        step = trainer_step(case, Path(folder))
    for _ in range(3):
        step()
    profiler, steps = torch.profiler.profile(), torch.profiler.record_function("steps")
    with profiler, steps:
        for _ in range(STEPS):
            step()
    times = Counter()
    for event in profiler.events():
        times[kind_of(event)] += event.self_cpu_time_total
    return Counter({kind: time / times.total() for kind, time in times.items()})


def kind_of(event) -> str:
    """Of what an operation is part; products are products wherever they stand."""
    kind = KINDS.get(event.name, REST)
    while kind != "products" and event is not None:
        if event.name in OWNERS:
            return OWNERS[event.name]
        event = event.cpu_parent
    return kind


if __name__ == "__main__":
    main()
