"""What training has cost so far, in the log of every run and through every resume.

fairseq keeps the meters of its "default" group from the first update on and saves them with every
checkpoint; the sums below are read from there.
"""

import torch
from fairseq.distributed import utils as distributed
from fairseq.logging import metrics

from ..bodies.cost import FLOPS, SECONDS, TOKENS
from ..cost.gpus import peak_of

DATA_SECONDS = "_data_seconds"  # spent waiting for batches


def record_flops(flops: float, device: torch.device) -> None:
    """Add a batch to the cost of the run, and show what the run has cost in the log.

    All since the first update of the run: `flops`; `tokens`, without padding; `tflops`, 10^12 FLOPs
    per second of training; on GPUs that are in the table of `cost/gpus.py`, `utilisation`, these in per
    cent of the peak rate of all GPUs (dense products in 16 bits, whatever the run computes in). The
    other processes are taken to do what this one does.

    Args:
        device: on which the batch was computed.
    """
    processes = distributed.get_data_parallel_world_size()
    metrics.log_scalar(FLOPS, flops * processes)
    metrics.log_derived("flops", lambda _: total(FLOPS), priority=91)
    metrics.log_derived("tokens", lambda _: total(TOKENS), priority=92)
    metrics.log_derived("tflops", lambda _: _rounded(_tflops()), priority=93)
    peak = peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if peak:
        whole = processes * peak / 1e12
        metrics.log_derived("utilisation", lambda _: round(100 * _tflops() / whole, 2), priority=94)


def record_waiting() -> None:
    """Show in the log how much of its time the run has waited for data: `data_wait`, in per cent."""
    metrics.log_derived("data_wait", lambda _: round(_data_wait(), 2), priority=95)


def total(name: str) -> float:
    """The sum of a meter since the first update; 0 before."""
    meter = metrics.get_meter("default", name)
    return meter.sum if meter else 0.0


def _tflops() -> float:
    seconds = total(SECONDS)
    return total(FLOPS) / seconds / 1e12 if seconds else 0.0


def _rounded(number: float) -> float:
    """To four digits; a small model has few TFLOPs."""
    return float(f"{number:.4g}")


def _data_wait() -> float:
    waited = total(DATA_SECONDS)
    return 100 * waited / (waited + total(SECONDS)) if waited else 0.0
