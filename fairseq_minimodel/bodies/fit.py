"""Whether a checkpoint fits the model that a run has built, said before it is loaded."""

from collections.abc import Collection, Mapping

from ..errors import InputError
from .checkpoint import Checkpoint
from .surgery import head_layers
from .tensors import EMBEDDING, HEAD, VOCABULARY


def check_model(checkpoint: Checkpoint, model: str) -> None:
    """Refuse a checkpoint of a family whose model is another than the run's with an `InputError`.

    Args:
        model: the run's, by its name for --arch.
    """
    if checkpoint.family.model != model:
        raise InputError(
            f"{checkpoint.path} is a {checkpoint.family.name}, which is the model "
            f"{checkpoint.family.model}, and this run trains {model}: give --arch "
            f"{checkpoint.family.model}"
        )


def check_fits(
    checkpoint: Checkpoint,
    settings: Mapping[str, object],
    rows: int,
    auxiliary_heads: Collection[int],
    pair_separators: int | None = None,
) -> None:
    """Refuse a checkpoint of another model than the run's.

    Args:
        settings: of the run's model, by fairseq's names.
        rows: of its embedding.
        auxiliary_heads: layers after which it has an MLM head besides the last one's.
        pair_separators: </s> between the two texts of a pair in its data; None: they hold no pairs.

    Raises:
        InputError: it does not fit. The number of attention heads and the activation function are
            in no tensor: loaded with others, a model computes something else silently.
    """
    found = checkpoint.body_settings()
    different = [name for name, value in found.items() if value != settings[name]]
    if different:
        own, its = (
            ", ".join(f"--{name.replace('_', '-')} {values[name]}" for name in different)
            for values in (settings, found)
        )
        raise InputError(f"{checkpoint.path} has {its}, and this run has {own}: give {its}")
    if not any(name.startswith(HEAD) for name in checkpoint.state):
        raise InputError(
            f"{checkpoint.path} has no MLM head, which this run's model has: give a checkpoint that "
            "kept it, as those of fairseq-train do"
        )
    its_heads = head_layers(checkpoint)
    expected = checkpoint.pair_separators
    # fine-tuned, RoBERTa learns one separator, too; BERT has token types, which two would shift
    if pair_separators is not None and expected == 1 < pair_separators:
        raise InputError(
            f"{checkpoint.path} is of the family {checkpoint.family.name}, which reads pairs as "
            "<s> a </s> b </s>, and the data of this run have two </s> between them: leave out "
            "--separator-token, and give prepare-questions --separators 1"
        )
    missing = sorted(set(auxiliary_heads) - set(its_heads))
    if missing:
        layers = ", ".join(map(str, missing))
        raise InputError(
            f"{checkpoint.path} has no MLM head after layer {layers}, which --auxiliary-head-layers "
            f"asks for, only after {', '.join(map(str, its_heads))}: name only heads that it has, or "
            "pretrain with that option"
        )
    if VOCABULARY not in checkpoint.state and checkpoint.state[EMBEDDING].size(0) != rows:
        raise InputError(
            f"{checkpoint.path} has a vocabulary of {checkpoint.state[EMBEDDING].size(0)} symbols and "
            f"the data one of {rows}: use the dict.txt of the checkpoint's training data, or the task "
            "language_adaptation to give the model another language"
        )
