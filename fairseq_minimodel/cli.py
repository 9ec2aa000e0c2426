"""The command `fairseq-minimodel VERB`: argument parsing only.

Each verb names the function that does the work as "module:function"; the module is imported when
the verb runs, so that `--help` does not wait for torch. The function gets the options as keywords.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError


def user_dir() -> None:
    """Print the folder to give to fairseq as --user-dir."""
    print(Path(__file__).resolve().parent)


def _add_user_dir(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("user-dir", help="print the folder to give to fairseq's --user-dir")
    parser.set_defaults(run="fairseq_minimodel.cli:user_dir")


def _add_truncate(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "truncate", help="write the bottom layers of a body and the MLM head after them"
    )
    parser.set_defaults(run="fairseq_minimodel.checkpoint.commands:truncate")
    _add_body(parser)
    parser.add_argument("--depth", type=int, required=True, metavar="N", help="layers to keep")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint")


def _add_extend(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "extend", help="put new layers and a new head on the bottom layers of a body (MiniPost)"
    )
    parser.set_defaults(run="fairseq_minimodel.checkpoint.commands:extend")
    _add_body(parser)
    parser.add_argument("--depth", type=int, required=True, metavar="N", help="layers to keep")
    parser.add_argument(
        "--new-layers", type=int, default=2, metavar="M", help="layers to add (default: 2)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the new weights (default: 1)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint")


def _add_pack(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("pack", help="write the language side of a checkpoint as a pack")
    parser.set_defaults(run="fairseq_minimodel.checkpoint.commands:pack")
    parser.add_argument(
        "--checkpoint", dest="checkpoints", nargs="+", type=Path, required=True, metavar="FILE"
    )
    parser.add_argument("--language", required=True, help='its name, as you call it ("de")')
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the pack (of several checkpoints: the folder of their packs)",
    )
    _add_dictionary(parser)
    parser.add_argument(
        "--sentencepiece-model",
        type=Path,
        metavar="FILE",
        help="tokenizer (default: the one in the checkpoint's data folder)",
    )


def _add_plug(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "plug", help="write a body with the language of a pack, as a folder that fairseq loads"
    )
    parser.set_defaults(run="fairseq_minimodel.checkpoint.commands:plug")
    parser.add_argument("--body", type=Path, required=True, metavar="FILE", help="checkpoint")
    parser.add_argument("--pack", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--module", type=Path, metavar="FOLDER", help="task module that was trained over the body"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")


def _add_module(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "module", help="write the task module of a checkpoint, apart from its body"
    )
    parser.set_defaults(run="fairseq_minimodel.checkpoint.commands:module")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="trained with --task-module"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="dict.txt of the labels (default: the one in the checkpoint's data folder)",
    )


def _add_structure(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "structure", help="print, and draw, the structure that a task module (tams) has chosen"
    )
    parser.set_defaults(run="fairseq_minimodel.report.structure:structure")
    parser.add_argument("--module", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--drawing", type=Path, metavar="FILE", help="PNG to draw it in")


def _add_merge(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "merge", help="write a body with a task module (mask, lora, tarp) merged into its weights"
    )
    parser.set_defaults(run="fairseq_minimodel.checkpoint.commands:merge")
    parser.add_argument(
        "--body", type=Path, required=True, metavar="FILE", help="that the module was trained over"
    )
    parser.add_argument("--module", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint")


def _add_import_hf(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "import-hf",
        help="a RoBERTa, XLM-R or CamemBERT in Hugging Face's form to a body and a language pack",
    )
    parser.set_defaults(run="fairseq_minimodel.interop.import_hf:import_hf")
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="with config.json, weights and tokenizer",
    )
    parser.add_argument("--language", required=True, help='its name, as you call it ("en")')
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="of body.pt and pack/"
    )


def _add_export_hf(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "export-hf",
        help="a body in the language of a pack to a folder that Hugging Face's transformers loads",
    )
    parser.set_defaults(run="fairseq_minimodel.interop.export_hf:export_hf")
    parser.add_argument("--body", type=Path, required=True, metavar="FILE", help="checkpoint")
    parser.add_argument("--pack", type=Path, required=True, metavar="FOLDER")
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--module", type=Path, metavar="FOLDER", help="task module (mask, lora, tarp) to merge"
    )
    change.add_argument(
        "--depth",
        type=int,
        metavar="N",
        help="the bottom layers alone, with the MLM head after them (default: all layers)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="dict.txt of the labels (default: the one the body was fine-tuned with)",
    )
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="what evaluate --json wrote, for the model card",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")


def _add_evaluate(verbs: argparse._SubParsersAction) -> None:
    from .corpus.window_options import add_window_arguments

    parser = verbs.add_parser(
        "evaluate",
        help="score fine-tuned bodies in the languages of packs: classification, questions",
        description="Either on files of examples or questions (--test, once a language), or on a "
        "benchmark as it was published (--benchmark, --data, --packs). Scores that the file of "
        "--json has already are not computed again.",
    )
    parser.set_defaults(run="fairseq_minimodel.evaluation.zero_shot:evaluate")
    parser.add_argument(
        "--body",
        dest="bodies",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="fine-tuned checkpoints; several are compared in one table",
    )
    parser.add_argument(
        "--module",
        dest="modules",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="task modules to score over --body, which is then the one that they were trained over",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--test",
        dest="tests",
        nargs=2,
        action="append",
        metavar=("PACK", "FILE"),
        help="a language pack and labelled examples (TSV or JSON Lines) or questions (SQuAD's JSON) "
        "in its language; repeat it for more languages",
    )
    where.add_argument(
        "--benchmark", metavar="NAME", help="xnli, pawsx, sib200, mlqa, xquad and others"
    )
    parser.add_argument("--packs", type=Path, metavar="FOLDER", help="one pack a language")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="the benchmark's archive, folder or file"
    )
    parser.add_argument("--split", default="test", help="of the benchmark (default: test)")
    parser.add_argument(
        "--languages", nargs="+", metavar="CODE", help="of the benchmark (default: those of packs)"
    )
    parser.add_argument(
        "--text-columns",
        nargs="+",
        default=["text"],
        metavar="COLUMN",
        help="one or two columns of text, by name or number from 1 (default: text)",
    )
    parser.add_argument(
        "--label-column", default="label", metavar="COLUMN", help="column of the label (label)"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="dict.txt of the labels (default: the one the body was fine-tuned with)",
    )
    parser.add_argument(
        "--metric",
        choices=("squad", "mlqa"),
        help="questions: whose rules compare answers (default: the benchmark's own, or squad)",
    )
    parser.add_argument(
        "--max-answer",
        type=int,
        default=30,
        metavar="N",
        help="questions: tokens of the longest answer (default: 30)",
    )
    add_window_arguments(parser)
    _add_prediction(parser)


def _add_retrieve(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "retrieve",
        help="find translations by the hidden states of a body in the languages of packs (no "
        "labels needed)",
        description="For each sentence of Tatoeba in a pack's language, looks for its English "
        "translation among all, and the other way: the sentence whose mean hidden state is the most "
        "similar.",
    )
    parser.set_defaults(run="fairseq_minimodel.evaluation.retrieval:retrieve")
    parser.add_argument("--body", type=Path, required=True, metavar="FILE", help="checkpoint")
    parser.add_argument(
        "--source-pack", type=Path, required=True, metavar="PACK", help="pack of English"
    )
    parser.add_argument(
        "--pack",
        dest="packs",
        type=Path,
        action="append",
        required=True,
        metavar="PACK",
        help="pack of another language; repeat it for more languages",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="Tatoeba as LASER publishes it"
    )
    parser.add_argument(
        "--layer",
        type=int,
        metavar="K",
        help="compare the hidden states after this layer, from 1; 0: the embeddings (default: the "
        "one above the middle, 7 of 12)",
    )
    parser.add_argument(
        "--similarity",
        dest="similarities",
        nargs="+",
        choices=("cosine", "csls"),
        default=["cosine", "csls"],
        help="by which the nearest sentence is found (default: both, side by side)",
    )
    parser.add_argument(
        "--neighbours", type=int, default=10, metavar="N", help="of CSLS (default: %(default)s)"
    )
    _add_prediction(parser)


def _add_perplexity(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "perplexity",
        help="MLM loss of a body on plain text in the languages of packs (no labels needed)",
        description="Masks 15 % of a text's tokens and says how well the body, with the language of "
        "a pack, predicts them. Give a pretrained body: fine-tuning leaves the MLM head as it was "
        "and changes the layers below it.",
    )
    parser.set_defaults(run="fairseq_minimodel.evaluation.perplexity:perplexity")
    parser.add_argument(
        "--body", type=Path, required=True, metavar="FILE", help="pretrained checkpoint"
    )
    parser.add_argument(
        "--pack",
        dest="tests",
        nargs=2,
        action="append",
        required=True,
        metavar=("PACK", "TEXT"),
        help="a language pack and plain text in its language, one sentence or document a line, "
        "perhaps compressed (.gz, .xz, .zst); repeat it for more languages",
    )
    parser.add_argument(
        "--depth",
        type=int,
        metavar="N",
        help="measure the MLM head after this layer (default: the last)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the masks (default: %(default)s)")
    _add_prediction(parser)


def _add_prediction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-tokens", type=int, default=8192, help="tokens a batch (default: %(default)s)"
    )
    parser.add_argument("--device", help="of PyTorch (default: a GPU if there is one)")
    parser.add_argument("--json", dest="output", type=Path, metavar="FILE", help="write scores too")


def _add_flops(verbs: argparse._SubParsersAction) -> None:
    from .nn.architectures import ARCHITECTURES
    from .report.plan import GPUS

    parser = verbs.add_parser(
        "flops",
        help="what pretraining and adaptation will cost: FLOPs, memory and time, before a run",
        description="Prints the cost of each step and variant. The defaults are the settings of the "
        "paper: RoBERTa-base, 125,000 updates of 2048 x 512 tokens.",
    )
    parser.set_defaults(run="fairseq_minimodel.report.plan:flops")

    def number(option: str, default: float | None, help: str, kind: type = int) -> None:
        shown = "" if default is None else " (default: %(default)s)"
        parser.add_argument(option, type=kind, default=default, metavar="N", help=help + shown)

    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--arch",
        choices=ARCHITECTURES,
        default="minimodel_roberta_base",
        help="sizes of the model (default: %(default)s)",
    )
    sizes.add_argument(
        "--body", type=Path, metavar="FILE", help="checkpoint to read the sizes off instead"
    )
    number("--layers", None, "layers of the model (default: as --arch or --body has them)")
    number("--width", None, "hidden size (default: likewise)")
    number("--ffn", None, "hidden size of the feed-forward blocks (default: likewise)")
    number("--heads", None, "attention heads (default: likewise)")
    number("--vocabulary", 50_000, "size of a target language's vocabulary")
    number(
        "--source-vocabulary",
        None,
        "size of the source language's (default: as the target's; with --body: the checkpoint's)",
    )
    number("--depth", None, "layers of the mini-model (default: a third of all)")
    number("--new-layers", 2, "layers that MiniPost adds on top of them")
    number("--languages", 1, "target languages, which share what is paid once")
    number("--updates", 125_000, "updates of pretraining")
    number("--post-updates", None, "updates of MiniPost's step 1b (default: --updates)")
    number("--adaptation-updates", None, "updates of an adaptation (default: --updates)")
    number("--batch-tokens", 2048 * 512, "tokens an update")
    number("--sequence-length", 512, "tokens a sequence")
    number("--masked-fraction", 0.15, "share of the tokens that is predicted", float)
    number("--micro-batch", 16, "sequences that a GPU holds at once, for the memory")
    parser.add_argument(
        "--finetune",
        nargs=3,
        metavar=("TASK", "SEQUENCES", "LENGTH"),
        help="fine-tuning, too: classification or span; sequences in all epochs; tokens of each",
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--gpu", choices=GPUS, default="A100-80GB", help="GPU to train on (default: %(default)s)"
    )
    rate.add_argument(
        "--peak-tflops",
        type=float,
        metavar="X",
        help="dense peak rate of another GPU, in TFLOP/s",
    )
    number("--gpus", 1, "how many GPUs there are")
    number("--utilisation", 0.4, "share of the peak rate that training reaches", float)
    parser.add_argument("--json", dest="output", type=Path, metavar="FILE", help="write it too")


def _add_toy(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "toy", help="generate two small languages and a task, to try everything out with"
    )
    parser.set_defaults(run="fairseq_minimodel.toy.generate:write_toy")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=1, help="of the random draws (default: 1)")
    parser.add_argument(
        "--sentences",
        type=int,
        default=30000,
        metavar="N",
        help="sentences of running text in each language (default: 30000)",
    )


def _add_body(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--body", type=Path, required=True, metavar="FILE", help="checkpoint")
    _add_dictionary(parser)


def _add_dictionary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dict",
        dest="dictionary",
        type=Path,
        metavar="FILE",
        help="dict.txt of the checkpoint (default: beside it, or in its data folder)",
    )


def _add_prepare(verbs: argparse._SubParsersAction) -> None:
    from .corpus.options import add_option_arguments

    parser = verbs.add_parser(
        "prepare",
        help="raw text to fairseq's binary data: clean, shuffle, train a vocabulary, encode",
    )
    parser.add_argument(
        "--text",
        nargs="+",
        required=True,
        metavar="FILE",
        help="plain text or JSON Lines (.jsonl), each perhaps compressed (.gz, .xz, .zst)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--sentencepiece-model", metavar="FILE", help="use this model instead of training one"
    )
    parser.add_argument(
        "--dict",
        dest="dictionary",
        metavar="FILE",
        help="use this dict.txt with the given model instead of making one",
    )
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    add_option_arguments(parser)
    parser.set_defaults(run="fairseq_minimodel.corpus.prepare:prepare")


def _add_prepare_classification(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "prepare-classification",
        help="labelled sentences or sentence pairs to data for fairseq's sentence_prediction",
        description="Files are TSV or JSON Lines (.jsonl), each perhaps compressed. A column is a "
        "name (TSV: of the header; JSON Lines: a key) or a number from 1 (TSV without header).",
    )
    parser.set_defaults(run="fairseq_minimodel.corpus.classification:prepare_classification")
    parser.add_argument("--train", type=Path, required=True, metavar="FILE")
    parser.add_argument("--valid", type=Path, required=True, metavar="FILE")
    parser.add_argument("--test", type=Path, metavar="FILE")
    parser.add_argument("--text-columns", nargs="+", required=True, metavar="COLUMN")
    parser.add_argument("--label-column", required=True, metavar="COLUMN")
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="all labels in the order of their classes (default: those of --train, sorted)",
    )
    parser.add_argument("--sentencepiece-model", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--dict", dest="dictionary", type=Path, required=True, metavar="FILE", help="dict.txt"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make")


def _add_export_benchmark(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "export-benchmark",
        help="a benchmark's labelled sentences, as published, to JSON Lines for "
        "prepare-classification",
        description='Writes one split in one language: {"text": ..., "label": ...} a line, or '
        '{"text1": ..., "text2": ..., "label": ...}.',
    )
    parser.set_defaults(run="fairseq_minimodel.corpus.benchmarks.export:export_benchmark")
    parser.add_argument(
        "--benchmark", required=True, metavar="NAME", help="multinli, snli, sib200 and others"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PATH", help="its archive, folder or file"
    )
    parser.add_argument("--split", default="train", help="of the benchmark (default: train)")
    parser.add_argument("--language", default="en", metavar="CODE", help="(default: en)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="NAME.jsonl")


def _add_prepare_questions(verbs: argparse._SubParsersAction) -> None:
    from .corpus.window_options import add_window_arguments

    parser = verbs.add_parser(
        "prepare-questions",
        help="questions with answers in a text (SQuAD's form) to data for the task span_qa",
        description="Files are JSON in the form of SQuAD v1.1, as MLQA, XQuAD and TyDiQA-GoldP are "
        "published in, each perhaps compressed.",
    )
    parser.set_defaults(run="fairseq_minimodel.corpus.questions:prepare_questions")
    parser.add_argument("--train", type=Path, required=True, metavar="FILE")
    parser.add_argument("--valid", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--language",
        metavar="CODE",
        help='take the questions of one language out of the files of TyDi QA, "en" (default: all)',
    )
    parser.add_argument("--sentencepiece-model", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--dict", dest="dictionary", type=Path, required=True, metavar="FILE", help="dict.txt"
    )
    add_window_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command, one sub-parser a verb."""
    parser = argparse.ArgumentParser(
        prog="fairseq-minimodel",
        description="Extend a RoBERTa-style masked language model to new languages.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add_verb in (
        _add_truncate,
        _add_extend,
        _add_pack,
        _add_plug,
        _add_module,
        _add_structure,
        _add_merge,
        _add_import_hf,
        _add_export_hf,
        _add_evaluate,
        _add_retrieve,
        _add_perplexity,
        _add_flops,
        _add_toy,
        _add_user_dir,
        _add_prepare,
        _add_prepare_classification,
        _add_export_benchmark,
        _add_prepare_questions,
    ):
        add_verb(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0; 2 for input that the user can mend; 130 for Ctrl-C."""
    options = vars(build_parser().parse_args(arguments))
    options.pop("verb")
    # Before fairseq is imported: it would turn on the log of every package, at every level.
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger(__package__).setLevel(logging.INFO)
    module, function = options.pop("run").split(":")
    try:
        getattr(importlib.import_module(module), function)(**options)
    except InputError as error:
        print(f"fairseq-minimodel: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fairseq-minimodel: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
