"""The options of `flops`."""

from dataclasses import dataclass
from pathlib import Path

from ..cost.gpus import GPUS
from ..options import json_file, option
from .architectures import ARCHITECTURES


@dataclass(frozen=True, kw_only=True)
class FlopsOptions:
    """The defaults are the scale of the method's authors: RoBERTa-base, and how it was trained."""

    arch: str = option(
        "minimodel_roberta_base", "sizes of the model", choices=tuple(ARCHITECTURES), group="sizes"
    )
    body: Path | None = option(None, "checkpoint to read the sizes off instead", group="sizes")
    layers: int | None = option(None, "layers of the model (default: as --arch or --body has them)")
    width: int | None = option(None, "hidden size (default: likewise)")
    ffn: int | None = option(None, "hidden size of the feed-forward blocks (default: likewise)")
    heads: int | None = option(None, "attention heads (default: likewise)")
    vocabulary: int = option(50_000, "size of a target language's vocabulary")
    source_vocabulary: int | None = option(
        None,
        "size of the source language's (default: as the target's; with --body: the checkpoint's)",
    )
    depth: int | None = option(None, "layers of the mini-model (default: a third of all)")
    new_layers: int = option(2, "layers that MiniPost adds on top of them")
    languages: int = option(1, "target languages, which share what is paid once")
    updates: int = option(125_000, "updates of pretraining")
    post_updates: int | None = option(None, "updates of MiniPost's step 1b (default: --updates)")
    adaptation_updates: int | None = option(None, "updates of an adaptation (default: --updates)")
    batch_tokens: int = option(2048 * 512, "tokens per update")
    sequence_length: int = option(512, "tokens per sequence")
    masked_fraction: float = option(0.15, "share of the tokens that is predicted")
    micro_batch: int = option(16, "sequences that a GPU holds at once, for the memory")
    finetune: tuple[str, str, str] | None = option(
        None,
        "fine-tuning, too: classification, span or tags; sequences in all epochs; tokens of each",
        metavar=("TASK", "SEQUENCES", "LENGTH"),
    )
    gpu: str = option("A100-80GB", "GPU to train on", choices=tuple(GPUS), group="rate")
    peak_tflops: float | None = option(
        None, "dense peak rate of another GPU, in TFLOP/s", metavar="X", group="rate"
    )
    gpus: int = option(1, "how many GPUs there are")
    utilisation: float = option(0.4, "share of the peak rate that training reaches")
    output: Path | None = json_file("write it too")
