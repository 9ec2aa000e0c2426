"""Verbs that say what a training run costs."""

from pathlib import Path

from .options import add_json
from .verb import Verbs, add_verb


def add_verbs(verbs: Verbs) -> None:
    _add_flops(verbs)


def _add_flops(verbs: Verbs) -> None:
    from ..bodies.architectures import ARCHITECTURES
    from ..cost.gpus import GPUS

    parser = add_verb(
        verbs,
        "flops",
        run="fairseq_minimodel.report.plan:flops",
        help="what pretraining and adaptation will cost: FLOPs, memory and time, before a run",
        example="--arch minimodel_roberta_base --depth 4 --languages 5 --gpus 8",
        description="Prints the cost of each step and variant. The defaults are the settings of the "
        "paper: RoBERTa-base, 125,000 updates of 2048 x 512 tokens.",
    )

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
    number("--batch-tokens", 2048 * 512, "tokens per update")
    number("--sequence-length", 512, "tokens per sequence")
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
    add_json(parser, "write it too")
