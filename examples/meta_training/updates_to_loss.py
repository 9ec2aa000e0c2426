"""The results of run.sh: the updates that each start needs to reach a loss.

    python examples/meta_training/updates_to_loss.py OUT

The losses to reach are those at which each module ends without preparation: for TARP with TAMS its own
and that of TARP alone. Losses are those of the held-out domain's validation text; between two
validations they are interpolated linearly.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "initialisers"))

from compare import reach, read_losses

from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.terminal.table import format_table

PREPARATION = {
    "plain": "none",
    "joint": "other domains, without inner steps",
    "meta": "other domains, meta-training",
}


def main(out: Path) -> None:
    logs = out / "logs"
    curves = {
        (kind, way): read_curve(logs, f"adapt-{kind}-{way}")
        for kind in ("tarp", "tarp+tams")
        for way in PREPARATION
    }
    wanted = {kind: curves[kind, "plain"][-1][1] for kind in ("tarp", "tarp+tams")}
    results = [
        {
            "module": kind,
            "preparation": PREPARATION[way],
            "loss_at_start": curve[0][1],
            "loss_at_end": curve[-1][1],
            "updates_to_loss_of": {
                other: reach(loss, [value for _, value in curve], [update for update, _ in curve])
                for other, loss in wanted.items()
            },
            "curve": curve,
        }
        for (kind, way), curve in curves.items()
    ]
    write_json(out / "results.json", results)
    rows = [
        [
            result["module"],
            result["preparation"],
            f"{result['loss_at_start']:.3f}",
            f"{result['loss_at_end']:.3f}",
            *(
                None if updates is None else round(updates)
                for updates in result["updates_to_loss_of"].values()
            ),
        ]
        for result in results
    ]
    reached = [f"updates to {loss:.3f} ({kind})" for kind, loss in wanted.items()]
    print(
        "bits per masked token in the domain that was held out; losses to reach: without preparation"
    )
    print(format_table(["module", "preparation", "loss at start", "at end", *reached], rows))
    print(f"\n{out / 'results.json'}")


def read_curve(logs: Path, name: str) -> list[tuple[float, float]]:
    """(updates, validation loss) of a run, that of its start first."""
    if not (logs / f"{name}.log").is_file():
        raise InputError(f"{logs} has no {name}.log: run run.sh to its end first")
    return list(read_losses(logs, name).items())


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
