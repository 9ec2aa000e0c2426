"""Several runs of the quickstart that differ in the seed alone: means, intervals, a picture.

    python examples/compare_seeds.py [--output FOLDER] OUT1 OUT2 ...

Every figure comes from below the OUTs, as in compare_variants.py; FOLDER (outputs/seeds) gets
results.json and the picture. Intervals are bootstrap intervals over seeds: they tell what other
seeds might have given, not what other test sentences might have.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
from compare_variants import NAMES, SCORE, describe_match, per_cent, read_run
from scipy.stats import bootstrap

from fairseq_minimodel.cost.compute_to_match import (
    NEARLY,
    Curve,
    compute_to_match_over_seeds,
    mean_curve,
)
from fairseq_minimodel.errors import InputError, print_input_errors_plainly
from fairseq_minimodel.files.atomic import write_json
from fairseq_minimodel.report.charts import draw_score_against_flops
from fairseq_minimodel.terminal.table import format_flops, format_seconds, format_table

LANGUAGES = (1, 10)  # among which what is paid once is shared
CONFIDENCE = 0.95


def main(outs: Sequence[Path], output: Path) -> None:
    runs = [read_run(out) for out in outs]
    check_settings(outs, [results["settings"] for results, _ in runs])
    results = {
        "runs": [str(out) for out in outs],
        "seeds": [results["settings"]["SEED"] for results, _ in runs],
        "confidence": CONFIDENCE,
        "chance": runs[0][0]["chance"],
        "source_language": mean_and_interval([run["source_accuracy"] for run, _ in runs]),
        "untrained_control": mean_and_interval([run["control_accuracy"] for run, _ in runs]),
        "word_list": mean_and_interval([run["start_accuracy"] for run, _ in runs]),
        "variants": [summary(index, [run for run, _ in runs]) for index in range(len(NAMES))],
        "compute_to_match": list(matches(runs)),
    }
    write_json(output / "results.json", results)
    draw_score_against_flops(
        [mean_curve([curves[name] for _, curves in runs]) for name in NAMES],
        output / "score_against_flops.png",
        references={
            "source language": results["source_language"]["mean"],
            "word list, untrained": results["word_list"]["mean"],
            "untrained": results["untrained_control"]["mean"],
            "chance": results["chance"],
        },
        score_label=SCORE,
        title=f"mean and range of {len(runs)} seeds",
    )
    print_results(results)
    print(f"\n{output / 'results.json'}\n{output / 'score_against_flops.png'}")


def check_settings(outs: Sequence[Path], settings: Sequence[dict[str, str]]) -> None:
    """Refuse runs that do not differ in their seed, or differ in more."""
    if len(outs) < 2:
        raise InputError("one run has no spread: name the folders of two runs or more")
    seeds: dict[str, Path] = {}
    for out, setting in zip(outs, settings, strict=True):
        seed = setting["SEED"]
        if seed in seeds:
            raise InputError(f"{seeds[seed]} and {out} have the same seed, {seed}")
        seeds[seed] = out
        for name in settings[0].keys() | setting.keys():
            first, other = settings[0].get(name), setting.get(name)
            if name != "SEED" and first != other:
                raise InputError(
                    f"{outs[0]} and {out} are not the same experiment: {name} is {first} and {other}"
                )


def mean_and_interval(values: Sequence[float]) -> dict[str, object]:
    interval = bootstrap(
        (values,), numpy.mean, confidence_level=CONFIDENCE, method="percentile", rng=1
    ).confidence_interval
    return {
        "by_seed": list(values),
        "mean": float(numpy.mean(values)),
        "interval": [float(interval.low), float(interval.high)],
    }


def summary(index: int, runs: Sequence[dict]) -> dict[str, object]:
    """A variant over the runs."""
    variants = [run["variants"][index] for run in runs]
    means = ("mlm_loss", "updates", "tokens", "flops", "flops_once", "seconds")
    return {
        "variant": variants[0]["variant"],
        "accuracy": mean_and_interval([variant["target_accuracy"] for variant in variants]),
        **{name: float(numpy.mean([variant[name] for variant in variants])) for name in means},
    }


def matches(runs: Sequence[tuple[dict, dict[str, Curve]]]) -> Iterator[dict[str, object]]:
    """Compute to match of each variant, with and without what is paid before the adaptation."""
    for name in list(NAMES)[1:]:
        for counted, languages in [
            ("adaptation", None),
            *(("once for all", languages) for languages in LANGUAGES),
            *(("pretraining", languages) for languages in LANGUAGES),
        ]:
            reference, curves = (
                [with_costs(run, side, counted, languages) for run in runs]
                for side in ("standard", name)
            )
            for fraction in (1.0, NEARLY):
                result = compute_to_match_over_seeds(
                    reference, curves, fraction, confidence=CONFIDENCE
                )
                yield {
                    "variant": name,
                    "counted": counted,
                    "languages": languages,
                    "fraction": fraction,
                    **result.match._asdict(),
                    "interval": [result.low, result.high],
                    "never": result.never,
                    "before_training": result.before_training,
                }


def with_costs(
    run: tuple[dict, dict[str, Curve]], name: str, counted: str, languages: int | None
) -> Curve:
    """A variant's curve, begun with a language's share of what is paid once for all languages."""
    results, curves = run
    if counted == "adaptation":
        return curves[name]
    once = results["variants"][list(NAMES).index(name)]["flops_once"]
    if counted == "pretraining":
        once += results["pretraining_flops"]
    return curves[name].with_cost(once / languages)


def print_results(results: dict) -> None:
    rows = [
        [title, *accuracy_cells(results[key]), *[None] * 4]
        for title, key in (
            ("source language", "source_language"),
            ("untrained control", "untrained_control"),
            ("word list, untrained", "word_list"),
        )
    ]
    for variant in results["variants"]:
        rows.append(
            [
                NAMES[variant["variant"]],
                *accuracy_cells(variant["accuracy"]),
                f"{variant['mlm_loss']:.3f}",
                format_flops(variant["flops"]),
                format_flops(variant["flops_once"]) if variant["flops_once"] else None,
                format_seconds(variant["seconds"]),
            ]
        )
    print()
    print(
        format_table(
            ["", "accuracy (%)", "interval", f"seeds {', '.join(results['seeds'])}",
             "MLM loss (bits)", "compute", "once for all", "time of steps"],
            rows,
        )
    )  # fmt: skip
    print(f"\n{matches_table(results['compute_to_match'])}")
    print(
        f"\naccuracy: zero-shot in the target language, mean over seeds (chance "
        f"{per_cent(results['chance'])} %); intervals: {100 * CONFIDENCE:g} %, bootstrap over\n"
        "seeds. compute to match: of the mean curves; an interval is open where resamples of the "
        "seeds never\nreach the score, and 'never' is the share of those. k: languages that share "
        "what is paid once."
    )


def accuracy_cells(accuracy: dict) -> list[str]:
    low, high = accuracy["interval"]
    return [
        per_cent(accuracy["mean"]),
        f"{per_cent(low)} to {per_cent(high)}",
        ", ".join(map(per_cent, accuracy["by_seed"])),
    ]


def matches_table(found: Sequence[dict]) -> str:
    words = {
        "adaptation": "adaptation alone",
        "once for all": "and once for all, k = {}",
        "pretraining": "and pretraining, k = {}",
    }
    rows: dict[tuple, list[object]] = {}
    for match in found:
        counted = words[match["counted"]].format(match["languages"])
        row = rows.setdefault((NAMES[match["variant"]], counted), [])
        row += [
            describe_match(match),
            format_interval(*match["interval"]),
            f"{100 * match['never']:.0f} %",
        ]
    return format_table(
        ["", "counted", "compute to match", "interval", "never", "95 % of it", "interval", "never"],
        [[*key, *row] for key, row in rows.items()],
    )


def format_interval(low: float | None, high: float | None) -> str | None:
    if low is None and high is None:
        return None
    return " to ".join("open" if end is None else f"{end:.2f}" for end in (low, high))


if __name__ == "__main__":
    print_input_errors_plainly()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outs", nargs="+", type=Path, metavar="OUT", help="folder of a run")
    parser.add_argument("--output", type=Path, default=Path("outputs/seeds"), metavar="FOLDER")
    arguments = parser.parse_args()
    main(arguments.outs, arguments.output)
