"""A run folder with known figures, as the examples leave them, without any training."""

import json
import shutil
from pathlib import Path

import torch

from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.packs.pack import Description, save_pack
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols

TERA = 1e12
# (updates, TFLOP, accuracy) of each evaluation. Standard's best is 0.8 after 200; MiniJoint has 0.85
# after 60, and the control 0.2, so 0.8 after 60 x 0.6 / 0.65 = 55.4. MiniPost ends at 0.5.
EVALUATIONS = {
    "standard": [(10, 100, 0.4), (20, 200, 0.8)],
    "minijoint": [(10, 60, 0.85), (20, 100, 0.9)],
    "minipost": [(10, 80, 0.3), (20, 160, 0.5)],
}
CONTROL = 0.2
WIDTH = 8


def write_run(
    folder: Path, source_data: Path, target_data: Path, language: str = "de", gain: float = 0
) -> Path:
    """Logs, data, packs and scores of three variants in one language; `gain` is added to scores."""
    write_data(folder / "data" / "en", source_data)
    write_data(folder / "data" / language, target_data)
    write_log(
        folder / "logs/pretrained.log", folder / "pretrained", "masked_lm", "en", heads=(2, 4)
    )
    rows = []
    write_pack(folder / "packs" / "en", "en", source_data, seed=0, updates=100)
    rows.append(score(folder / "packs/en", "en", 1.0))
    write_pack(folder / "packs" / "untrained" / language, language, target_data, 1, updates=1)
    rows.append(score(folder / "packs" / "untrained" / language, language, CONTROL))
    for number, (name, evaluations) in enumerate(EVALUATIONS.items(), start=2):
        write_log(
            folder / "logs" / f"{name}.log", folder / name, "language_adaptation", language, (4,)
        )
        for updates, flops, accuracy in evaluations:
            pack = folder / "packs" / name / f"checkpoint_1_{updates}" / language
            write_pack(pack, language, target_data, number, updates, flops * TERA)
            rows.append(score(pack, language, accuracy + gain))
    (folder / "scores.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def write_data(folder: Path, origin: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(origin, folder)
    record = {
        "options": {"vocabulary_size": 8000},
        "inputs": [{"name": "mono.txt", "bytes": 1, "blake2b": ""}],
        "versions": {"sentencepiece": "0.2.3"},
        "counts": {"train": {"tokens": 12345, "unknown_share": 0.0025}},
        "shards": 1,
    }
    (folder / "prepare.json").write_text(json.dumps(record), encoding="utf-8")


def write_pack(folder, language, data, seed, updates, flops=None, side=None) -> None:
    symbols = read_symbols(data / "dict.txt")
    if side is None:
        generator = torch.Generator().manual_seed(seed)
        side = LanguageSide(
            torch.randn(len(symbols), WIDTH, generator=generator), torch.zeros(len(symbols))
        )
    description = Description(
        language=language,
        lineage="one",
        vocabulary=fingerprint(symbols),
        vocabulary_size=len(symbols),
        width=side.width,
        depth=4,
        updates=updates,
        flops=flops,
        versions={"torch": "2.13.0"},
    )
    save_pack(folder, side, description, data / "dict.txt", data / "sentencepiece.bpe.model")


def score(pack: Path, language: str, accuracy: float) -> dict:
    return {
        "language": language,
        "pack": str(pack),
        "data": "test.tsv",
        "examples": 1000,
        "accuracy": accuracy,
        "low": accuracy - 0.03,
        "high": accuracy + 0.02,
        "chance": 0.25,
        "majority": 0.26,
    }


def settings_line(save_dir: Path, task: str, language: str, **options: object) -> str:
    """What fairseq-train prints first, with a word and a Namespace among the literals."""
    return (
        "2026-11-21 13:38:53 | INFO | fairseq_cli.train | {'_name': None, 'common': {'_name': None, "
        f"'seed': 1, 'log_format': 'json'}}, 'task': {{'_name': '{task}', "
        f"'data': {str(Path('/elsewhere/data') / language)!r}, 'sample_break_mode': none}}, "
        "'model': Namespace(arch='roberta', activation_fn=relu-fast), "
        f"'optimization': {{'lr': [{options.get('lr', 0.005)}], 'max_update': 20}}, "
        f"'checkpoint': {{'save_dir': {str(save_dir)!r}}}}}\n"
    )


def training_line(updates: int, loss: float, flops: float) -> str:
    figures = {
        "epoch": 1, "update": 0.5, "loss": f"{loss:.3f}", "ppl": "9", "flops": f"{flops:.5e}",
        "tokens": f"{updates * 2048:g}", "num_updates": str(updates), "wall": f"{3 * updates}",
    }  # fmt: skip
    return f"2026-11-21 13:39:00 | INFO | train_inner | {json.dumps(figures)}\n"


def validation_line(updates: int, loss: float, heads: tuple[int, ...] = ()) -> str:
    figures = {"epoch": 1, "valid_loss": f"{loss:.3f}", "valid_num_updates": str(updates)}
    for place, head in enumerate(heads):
        figures[f"valid_loss_l{head}"] = f"{loss + 0.1 - 0.2 * place:.3f}"
    return f"[2026-11-21 13:39:05,963][valid][INFO] - {json.dumps(figures)}\n"


def write_log(path: Path, save_dir: Path, task: str, language: str, heads: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [settings_line(save_dir, task, language)]
    for updates in (5, 10, 15, 20):
        lines.append(training_line(updates, 9 - updates / 10, updates * 5e11))
        if updates % 10 == 0:
            lines.append(validation_line(updates, 8.5 - updates / 10, heads))
    path.write_text("".join(lines), encoding="utf-8")
