"""The results of run.sh: what each initialiser needs to reach the loss of a random start.

    python examples/initialisers/compare.py OUT

Every figure comes from the logs below OUT. The loss to reach is the one that `random` has at its
end; between two validations losses and FLOPs are interpolated linearly. What the helper of
CLP-Transfer cost stands apart, and is added in the last column.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fairseq_minimodel.bodies.training_log import read_figures
from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.terminal.table import format_flops, format_table

HELPED = "clp"  # initialisers whose names begin with this use the helper


class Run(NamedTuple):
    """Validation losses (bits per masked token) over updates, from 0 on, and FLOPs so far at each."""

    updates: list[float]
    losses: list[float]
    flops: list[float]
    rows: str  # where the rows came from


def main(out: Path) -> None:
    results = [
        result
        for helper in sorted((out / "logs").glob("*-helper.log"))
        for result in compare(out / "logs", helper.stem.removesuffix("-helper"))
    ]
    if not results:
        raise InputError(f"{out} has no logs of run.sh: run it to its end first")
    write_json(out / "results.json", results)
    for language in dict.fromkeys(result["language"] for result in results):
        print_results([result for result in results if result["language"] == language])
    print(f"\n{out / 'results.json'}")


def compare(logs: Path, language: str) -> list[dict]:
    """A result for each initialiser of a language."""
    helper_flops = max(read_flops(logs / f"{language}-helper.log").values())
    starts = sorted(logs.glob(f"{language}-*-start.log"))
    names = [path.stem.removeprefix(f"{language}-").removesuffix("-start") for path in starts]
    runs = {name: read_run(logs, f"{language}-{name}") for name in names}
    wanted = runs["random"].losses[-1]
    whole = runs["random"].flops[-1]
    results = []
    for name, run in sorted(runs.items(), key=lambda item: -item[1].losses[-1]):
        updates, flops = (reach(wanted, run.losses, cost) for cost in (run.updates, run.flops))
        helper = helper_flops if name.startswith(HELPED) else 0
        results.append(
            {
                "language": language,
                "initialiser": name,
                "rows": run.rows,
                "loss_at_start": run.losses[0],
                "loss_at_end": run.losses[-1],
                "loss_to_reach": wanted,
                "updates": updates,
                "flops": flops,
                "helper_flops": helper,
                "updates_saved": None if updates is None else 1 - updates / run.updates[-1],
                "flops_saved": None if flops is None else 1 - flops / whole,
                "flops_saved_with_helper": None if flops is None else 1 - (flops + helper) / whole,
                "curve": {"updates": run.updates, "losses": run.losses, "flops": run.flops},
            }
        )
    return results


def read_run(logs: Path, name: str) -> Run:
    """The validations of a run, with that of its start before them."""
    losses, log = read_losses(logs, name), logs / f"{name}.log"
    trained = {0.0: 0.0, **read_flops(log)}
    flops = np.interp(list(losses), sorted(trained), [trained[one] for one in sorted(trained)])
    rows = re.search(r"initialise \S+: (.*)", log.read_text(encoding="utf-8"))
    return Run(list(losses), list(losses.values()), flops.tolist(), rows[1])


def read_losses(logs: Path, name: str) -> dict[float, float]:
    """Validation losses by updates, that of the run's start first."""
    start = next(r["valid_loss"] for r in read_figures(logs / f"{name}-start.log")
                 if "valid_loss" in r)  # fmt: skip
    # a validation may be there twice: at an interval and at the end, or after an interruption
    valid = {
        figures["valid_num_updates"]: figures["valid_loss"]
        for figures in read_figures(logs / f"{name}.log")
        if "valid_loss" in figures
    }
    return {0.0: start, **dict(sorted(valid.items()))}


def read_flops(log: Path) -> dict[float, float]:
    """FLOPs since the first update, after each update that was logged."""
    return {
        figures["num_updates"]: figures["flops"]
        for figures in read_figures(log)
        if "flops" in figures and "num_updates" in figures
    }


def reach(wanted: float, losses: list[float], costs: list[float]) -> float | None:
    """The cost at which the loss is first `wanted` or less; None if it never is."""
    for place, loss in enumerate(losses):
        if loss > wanted:
            continue
        if place == 0:
            return costs[0]
        share = (losses[place - 1] - wanted) / (losses[place - 1] - loss)
        return costs[place - 1] + share * (costs[place] - costs[place - 1])
    return None


def print_results(results: list[dict]) -> None:
    first = results[0]
    print(f"\n{first['language']}: to reach {first['loss_to_reach']:.3f} bits per masked token")
    rows = [
        [
            result["initialiser"],
            f"{result['loss_at_start']:.3f}",
            f"{result['loss_at_end']:.3f}",
            None if result["updates"] is None else round(result["updates"]),
            per_cent(result["updates_saved"]),
            None if result["flops"] is None else format_flops(result["flops"]),
            format_flops(result["helper_flops"]) if result["helper_flops"] else None,
            per_cent(result["flops_saved_with_helper"]),
        ]
        for result in results
    ]
    print(
        format_table(
            ["", "loss at start", "at end", "updates to reach it", "fewer (%)", "FLOPs", "helper",
             "fewer FLOPs with helper (%)"],
            rows,
        )
    )  # fmt: skip
    for result in results:
        print(f"{result['initialiser']}: {result['rows']}")


def per_cent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f}"


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
