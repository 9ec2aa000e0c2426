"""Verbs that make checkpoints, language packs and task modules out of each other."""

from pathlib import Path

from .options import (
    add_body,
    add_dictionary,
    add_labels,
    add_module,
    add_output,
)
from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_truncate(verbs)
    _add_extend(verbs)
    _add_pack(verbs)
    _add_plug(verbs)
    _add_module(verbs)
    _add_merge(verbs)
    _add_structure(verbs)


def _add_truncate(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "truncate",
        run="fairseq_minimodel.packs.commands:truncate",
        help="write the bottom layers of a body and the MLM head after them",
        example="--body checkpoints/en/checkpoint_last.pt --depth 4 --output checkpoints/mini.pt",
    )
    add_body(parser)
    add_dictionary(parser)
    parser.add_argument("--depth", type=int, required=True, metavar="N", help="layers to keep")
    add_output(parser, "FILE", "checkpoint")


def _add_extend(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "extend",
        run="fairseq_minimodel.packs.commands:extend",
        help="put new layers and a new head on the bottom layers of a body (MiniPost)",
        example="--body checkpoints/en/checkpoint_last.pt --depth 4 --new-layers 2 --output "
        "checkpoints/extended.pt",
    )
    add_body(parser)
    add_dictionary(parser)
    parser.add_argument("--depth", type=int, required=True, metavar="N", help="layers to keep")
    parser.add_argument(
        "--new-layers", type=int, default=2, metavar="M", help="layers to add (default: 2)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the new weights (default: 1)")
    add_output(parser, "FILE", "checkpoint")


def _add_pack(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "pack",
        run="fairseq_minimodel.packs.commands:pack",
        help="write the language side of a checkpoint as a pack",
        example="--checkpoint checkpoints/de/checkpoint_last.pt --language de --output packs/de",
    )
    parser.add_argument(
        "--checkpoint",
        dest="checkpoints",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
    )
    parser.add_argument("--language", required=True, help='its name, as you call it ("de")')
    add_output(parser, "FOLDER", "the pack (of several checkpoints: the folder of their packs)")
    add_dictionary(parser)
    parser.add_argument(
        "--sentencepiece-model",
        type=Path,
        metavar="FILE",
        help="tokenizer (default: the one in the checkpoint's data folder)",
    )


def _add_plug(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "plug",
        run="fairseq_minimodel.packs.commands:plug",
        help="write a body with the language of a pack, as a folder that fairseq loads",
        example="--body checkpoints/topics/checkpoint_last.pt --pack packs/de --output "
        "models/de-topics",
    )
    add_body(parser)
    parser.add_argument("--pack", type=Path, required=True, metavar="FOLDER")
    add_module(parser)
    add_output(parser, "FOLDER")


def _add_module(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "module",
        run="fairseq_minimodel.packs.commands:module",
        help="write the task module of a checkpoint, apart from its body",
        example="--checkpoint checkpoints/topics-compacter/checkpoint_last.pt --output "
        "modules/topics-compacter",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="trained with --task-module"
    )
    add_output(parser, "FOLDER")
    add_labels(parser)


def _add_merge(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "merge",
        run="fairseq_minimodel.packs.commands:merge",
        help="write a body with a task module merged into its weights, where its method allows",
        example="--body checkpoints/en/checkpoint_last.pt --module modules/topics-mask --output "
        "checkpoints/topics-masked.pt",
    )
    add_body(parser, "that the module was trained over")
    parser.add_argument("--module", type=Path, required=True, metavar="FOLDER")
    add_output(parser, "FILE", "checkpoint")


def _add_structure(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "structure",
        run="fairseq_minimodel.report.structure:structure",
        help="print, and draw, the structure that a task module (tams) has chosen",
        example="--module modules/topics-tams --drawing structure.png",
    )
    parser.add_argument("--module", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--drawing", type=Path, metavar="FILE", help="PNG to draw it in")
