"""The results of the quickstart: a table, results.json and a picture of score against FLOPs.

    python examples/compare_variants.py OUT

Reads checkpoints, packs and logs below OUT; every figure comes from there. The FLOPs of a variant
are those of its adaptation (step 2). What it needs once, for all languages, stands beside them:
MiniJoint's second head in pretraining, MiniPost's step 1b.
"""

import json
import sys
from pathlib import Path

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.cost import shape_of, training_cost
from fairseq_minimodel.bodies.surgery import head_layers
from fairseq_minimodel.bodies.training_log import read_figures
from fairseq_minimodel.cost.compute_to_match import (
    NEARLY,
    ComputeToMatch,
    Curve,
    compute_to_match,
    score_curve,
)
from fairseq_minimodel.cost.flops import masked_lm_flops
from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.report.blocks import VARIANTS
from fairseq_minimodel.report.charts import draw_score_against_flops
from fairseq_minimodel.terminal.table import format_flops, format_seconds, format_table

SCORE = "zero-shot accuracy"
NAMES = {name: VARIANTS[name] for name in ("standard", "minijoint", "minipost")}


def main(out: Path) -> None:
    results, curves = read_run(out)
    results["compute_to_match"], results["compute_to_match_95_percent"] = (
        {
            name: compute_to_match(curves["standard"], curve, fraction)._asdict()
            for name, curve in curves.items()
            if name != "standard"
        }
        for fraction in (1.0, NEARLY)
    )
    write_json(out / "results.json", results)
    draw_score_against_flops(
        list(curves.values()),
        out / "score_against_flops.png",
        references={
            "source language": results["source_accuracy"],
            "word list, untrained": results["start_accuracy"],
            "untrained": results["control_accuracy"],
            "chance": results["chance"],
        },
        score_label=SCORE,
    )
    print_results(results)
    print(f"\n{out / 'results.json'}\n{out / 'score_against_flops.png'}")


def read_run(out: Path) -> tuple[dict, dict[str, Curve]]:
    """What a run has measured, and each variant's zero-shot accuracy over its adaptation's FLOPs."""
    if not (out / "scores.json").exists():
        raise InputError(f"{out} has no scores.json: run the quickstart to its end first")
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    source, untrained, start = (
        next(score for score in scores if Path(score["pack"]).name == name)
        for name in ("source", "untrained", "words")
    )
    pretraining, once = pretraining_and_once_for_all(out)
    variants, curves = [], {}
    for name in NAMES:
        points = sorted(
            (
                (load_pack(out / "packs" / name / Path(score["pack"]).name).description, score)
                for score in scores
                if Path(score["pack"]).parent.name == name
            ),
            key=lambda point: point[0].updates,
        )
        last, score = points[-1]
        variants.append(
            {
                "variant": name,
                "target_accuracy": score["accuracy"],
                "target_interval": [score["low"], score["high"]],
                "mlm_loss": full_model_loss(out, name),
                "updates": last.updates,
                "tokens": last.tokens,
                "flops": last.flops,
                "flops_once": once[name],
                "seconds": last.seconds,
            }
        )
        curves[name] = score_curve(
            NAMES[name],
            [(description.flops, score["accuracy"]) for description, score in points],
            start["accuracy"],
        )
    settings = (out / "settings.txt").read_text(encoding="utf-8").splitlines()
    results = {
        "source_accuracy": source["accuracy"],
        "control_accuracy": untrained["accuracy"],
        "control_mlm_loss": full_model_loss(out, "untrained"),
        "start_accuracy": start["accuracy"],
        "start_mlm_loss": full_model_loss(out, "words"),
        "chance": source["chance"],
        "pretraining_flops": pretraining,
        "variants": variants,
        "settings": dict(line.split("=", 1) for line in settings),
    }
    return results, curves


def pretraining_and_once_for_all(out: Path) -> tuple[int, dict[str, int]]:
    """FLOPs of ordinary pretraining; and of what each variant needs besides, for all languages."""
    pretrained = read_checkpoint(out / "pretrained" / "checkpoint_last.pt")
    joint = training_cost(pretrained).flops
    # The run had two heads. What one would have cost is a share that the shapes decide.
    task, heads = pretrained.config["task"], head_layers(pretrained)
    one, both = (
        masked_lm_flops(
            shape_of(pretrained),
            1,
            task["tokens_per_sample"],
            auxiliary_head_layers=auxiliary,
            masked_fraction=task["mask_prob"],
        ).total
        for auxiliary in ([], heads[:-1])
    )
    pretraining = round(joint * one / both)
    return pretraining, {
        "standard": 0,
        "minijoint": joint - pretraining,
        "minipost": training_cost(read_checkpoint(out / "post" / "checkpoint_last.pt")).flops,
    }


def full_model_loss(out: Path, name: str) -> float:
    """MLM loss, in bits per masked token, that fairseq-validate found for a plugged full model."""
    figures = read_figures(out / "logs" / f"validate-{name}.log")
    return [each["valid_loss"] for each in figures if "valid_loss" in each][-1]


def print_results(results: dict) -> None:
    rows = [
        ["source language", per_cent(results["source_accuracy"]), *[None] * 8],
        *(
            [title, per_cent(results[f"{key}_accuracy"]), results[f"{key}_mlm_loss"], *[None] * 7]
            for title, key in (("untrained control", "control"), ("word list, untrained", "start"))
        ),
    ]
    for variant in results["variants"]:
        matches = [
            describe_match(results[key].get(variant["variant"]))
            for key in ("compute_to_match", "compute_to_match_95_percent")
        ]
        rows.append(
            [
                NAMES[variant["variant"]],
                per_cent(variant["target_accuracy"]),
                variant["mlm_loss"],
                variant["updates"],
                variant["tokens"],
                format_flops(variant["flops"]),
                format_flops(variant["flops_once"]) if variant["flops_once"] else None,
                format_seconds(variant["seconds"]),
                *matches,
            ]
        )
    print()
    print(
        format_table(
            ["", "accuracy (%)", "MLM loss (bits)", "updates", "tokens", "compute", "once for all",
             "time of steps", "compute to match", "95 % of it"],
            rows,
        )
    )  # fmt: skip
    print(
        f"\naccuracy: zero-shot in the target language (chance {per_cent(results['chance'])} %); "
        "MLM loss: of the full model\nwith the adapted language side; compute to match: FLOPs with "
        "which Standard reaches its best accuracy,\nover the FLOPs with which the variant does; "
        "and the same for 95 % of that accuracy."
    )


def describe_match(match: dict | None) -> str | None:
    if match is None:
        return None
    return ComputeToMatch(*(match[name] for name in ComputeToMatch._fields)).ratio_in_words()


def per_cent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    print_input_errors_plainly()
    main(Path(sys.argv[1]))
