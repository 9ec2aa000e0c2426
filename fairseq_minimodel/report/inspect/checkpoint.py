"""What a checkpoint is: which model, from which run, and what of it was trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...bodies.checkpoint import (
    UNSUPPORTED,
    Checkpoint,
    find_training_file,
    read_checkpoint,
    symbols_of,
)
from ...bodies.cost import TrainingCost, training_cost
from ...bodies.identity import LINEAGE, VOCABULARY, decode, lineage_of
from ...bodies.language_side import EMBEDDING
from ...bodies.parts import HEAD, SPAN_HEAD
from ...bodies.surgery import head_layers
from ...cost.freezing import BOTTOM, parse_freeze
from ...errors import InputError
from ...modules.method import NONE
from ...modules.registry import find_method
from ...packs.module import LABELS, TASK_BODY, task_heads
from ...packs.pack import DICTIONARY
from ...vocabulary.tokenizers import TOKENIZER_FILES, read_dictionary
from .facts import (
    Description,
    Fact,
    counted,
    files_fact,
    loss_facts,
    pairs,
    precision_fact,
    shares,
    training_fact,
    vocabulary_fact,
)
from .weights import not_finite, parameters, precisions, weights_of

# Units of the losses that fairseq's and our criterions log, by the task.
MASKED = "bits a masked token"
UNITS = {
    "masked_lm": MASKED,
    "multilingual_masked_lm": MASKED,
    "language_adaptation": MASKED,
    "meta_masked_lm": MASKED,
    "sentence_prediction": "bits an example",
    "span_qa": "bits a window",
}
# The options of a run that are shown: the part of fairseq's configuration, the name in it, and how
# the command line calls it.
OPTIONS = (
    ("task", "_name", "task"),
    ("criterion", "_name", "criterion"),
    ("optimizer", "_name", "optimizer"),
    ("optimization", "lr", "lr"),
    ("lr_scheduler", "_name", "lr-scheduler"),
    ("lr_scheduler", "warmup_updates", "warmup-updates"),
    ("optimizer", "weight_decay", "weight-decay"),
    ("dataset", "batch_size", "batch-size"),
    ("dataset", "max_tokens", "max-tokens"),
    ("optimization", "update_freq", "update-freq"),
    ("distributed_training", "distributed_world_size", "distributed-world-size"),
    ("task", "tokens_per_sample", "tokens-per-sample"),
    ("model", "dropout", "dropout"),
    ("common", "fp16", "fp16"),
    ("common", "bf16", "bf16"),
    ("common", "seed", "seed"),
)
# Values of options that say nothing.
LEFT_OUT = (None, False, "", 0)
ONE = (("update-freq", "1"), ("distributed-world-size", 1))
FROZEN = {
    "none": "nothing",
    "language": "language side",
    "body": "everything but the language side",
}


def describe_checkpoint(path: Path) -> Description:
    """A checkpoint of fairseq's or of this package's. Raises InputError as `read_whole` does."""
    checkpoint, sizes, cost = read_whole(path)
    warnings = [
        f"trained with {name}={checkpoint.model_config[name]}, which minimodel_roberta does not have"
        for name in UNSUPPORTED
        if checkpoint.model_config.get(name)
    ]
    weights = weights_of(checkpoint)
    counts = parameters(weights)
    total = sum(counts.values())
    facts = [
        Fact("sizes", _sizes(sizes), sizes),
        Fact("parameters", f"{total:,}: {shares(counts)}", {"all": total, **counts}),
        _vocabulary(checkpoint, warnings),
        _mlm_heads(checkpoint),
        *_task(checkpoint, warnings),
        _lineage(checkpoint),
        _frozen(checkpoint),
        *_origin(checkpoint),
        training_fact(cost.updates, cost.tokens, cost.flops, cost.seconds, _epoch(checkpoint)),
        *_validation(checkpoint),
        *_options(checkpoint),
        precision_fact(precisions(weights)),
        files_fact([path]),
    ]
    warnings += not_finite(weights)
    return Description(path, "checkpoint", _title(checkpoint), facts, warnings)


def read_whole(path: Path) -> tuple[Checkpoint, dict[str, object], TrainingCost]:
    """A checkpoint, the sizes of its model, whichever form of RoBERTa it is of, and its cost.

    Raises:
        InputError: as in `read_checkpoint`, or parts of the model are missing.
    """
    checkpoint = read_checkpoint(path, finite=False)
    supported = checkpoint.replaced(checkpoint.state, **dict.fromkeys(UNSUPPORTED))
    try:
        return checkpoint, supported.body_settings(), training_cost(supported)
    except (KeyError, ValueError):
        raise InputError(
            f"{path} is no whole RoBERTa: it has a token embedding, but not all the layers and "
            "settings that go with it"
        ) from None


def purpose(task: str | None, heads: Mapping[str, int]) -> str:
    """What a body or a task module is for, by its heads (outputs of each): " for classification"."""
    if SPAN_HEAD in heads:
        return " for question answering"
    if heads:
        classes = max(heads.values())
        return f" for classification ({counted(classes, 'class', 'classes')})"
    return f" for {task}" if task else ""


def heads_fact(heads: Mapping[str, int], labels: Sequence[str]) -> Fact:
    """The heads of a task, with their labels where they are known."""
    texts = []
    for name, outputs in heads.items():
        if name == SPAN_HEAD:
            texts.append(f"{name} (first and last token of an answer)")
        else:
            names = f": {', '.join(labels)}" if len(labels) == outputs else ""
            texts.append(f"{name} ({counted(outputs, 'class', 'classes')}{names})")
    value = {"outputs": dict(heads), "labels": list(labels)}
    return Fact("task heads", "; ".join(texts) or "none", value)


def _title(checkpoint: Checkpoint) -> str:
    task, heads = checkpoint.config.get("task", {}).get("_name"), task_heads(checkpoint.state)
    middle, layers = _mlm_layers(checkpoint)[:-1], checkpoint.layers
    freeze = parse_freeze(checkpoint.model_config.get("freeze"))
    if TASK_BODY in checkpoint.state:
        module = find_method(checkpoint.model_config).name
        return f"body with a task module ({module}){purpose(task, heads)}"
    if heads:
        return f"body fine-tuned{purpose(task, heads)}"
    if task == "language_adaptation":
        return f"language side trained over {counted(layers, 'frozen layer')} (language adaptation)"
    if freeze.kind == BOTTOM:
        new = counted(layers - freeze.layers, "layer")
        return f"{new} trained on {freeze.layers} frozen ones (MiniPost, step 1b)"
    if not _mlm_layers(checkpoint):
        return "body without an MLM head"
    if not _was_trained(checkpoint):
        return "body, imported or made out of another checkpoint"
    name = "meta-trained body" if task == "meta_masked_lm" else "pretrained body"
    if len(middle) == 1:
        return f"{name} with an auxiliary MLM head after layer {middle[0]} (MiniJoint)"
    if middle:
        return f"{name} with auxiliary MLM heads after layers {_and(middle)} (MiniJoint)"
    return name


def _was_trained(checkpoint: Checkpoint) -> bool:
    """Whether fairseq wrote it, in training: what this package writes has no place for the loss."""
    return "val_loss" in checkpoint.extra_state


def _sizes(sizes: Mapping[str, object]) -> str:
    return (
        f"{counted(sizes['encoder_layers'], 'layer')}, width {sizes['encoder_embed_dim']}, "
        f"feed-forward {sizes['encoder_ffn_embed_dim']}, "
        f"{counted(sizes['encoder_attention_heads'], 'attention head')}, "
        f"{counted(sizes['max_positions'], 'position')}, {sizes['activation_fn']}"
    )


def _vocabulary(checkpoint: Checkpoint, warnings: list[str]) -> Fact:
    files: dict[str, str | None] = {}
    for kind, names in (("dict.txt", (DICTIONARY,)), ("tokenizer", TOKENIZER_FILES)):
        try:
            files[kind] = str(find_training_file(checkpoint, *names))
        except InputError:
            files[kind] = None
    symbols: list[str] = []
    if files["dict.txt"]:
        try:
            symbols = symbols_of(checkpoint, files["dict.txt"])
        except InputError as error:
            warnings.append(str(error))
    buffer = checkpoint.state.get(VOCABULARY)
    fingerprint = None if buffer is None else decode(buffer)
    return vocabulary_fact(checkpoint.state[EMBEDDING].size(0), fingerprint, symbols, files)


def _mlm_layers(checkpoint: Checkpoint) -> list[int]:
    """The layers after which there is an MLM head, the last layer's last; none without that one."""
    return head_layers(checkpoint) if f"{HEAD}dense.weight" in checkpoint.state else []


def _mlm_heads(checkpoint: Checkpoint) -> Fact:
    layers = _mlm_layers(checkpoint)
    places = f"after layer{'s' * (len(layers) > 1)} {_and(layers)} (the last)" if layers else "none"
    return Fact("MLM heads", places, layers)


def _task(checkpoint: Checkpoint, warnings: list[str]) -> list[Fact]:
    """The task module and the heads of a task, where there are any."""
    facts = []
    heads = task_heads(checkpoint.state)
    method = find_method(checkpoint.model_config)
    if method.name != NONE:
        body = decode(checkpoint.state[TASK_BODY]) if TASK_BODY in checkpoint.state else None
        settings = method.settings()
        others = {name: value for name, value in settings.items() if name != "task_module"}
        text = f"{method.name}: {pairs(others)}; over the body {body}"
        facts.append(Fact("task module", text, {**settings, "body": body}))
    if heads:
        labels: list[str] = []
        try:
            labels = read_dictionary(find_training_file(checkpoint, LABELS))
        except InputError:
            if SPAN_HEAD not in heads:
                warnings.append(
                    f"its labels ({LABELS}) are neither beside it nor in its data folder"
                )
        facts.append(heads_fact(heads, labels))
    return facts


def _lineage(checkpoint: Checkpoint) -> Fact:
    lineage = lineage_of(checkpoint.state)
    note = "" if LINEAGE in checkpoint.state else " (the digest of its body; none is written in it)"
    return Fact("lineage", f"{lineage}{note}", lineage)


def _frozen(checkpoint: Checkpoint) -> Fact:
    if not _was_trained(checkpoint):
        return Fact("frozen", "not known: no training wrote this file", None)
    freeze = parse_freeze(checkpoint.model_config.get("freeze"))
    text = FROZEN.get(freeze.kind, freeze.kind)
    if find_method(checkpoint.model_config).name != NONE:
        text = "everything but the task module and its heads"
    elif freeze.kind == BOTTOM:
        layers = counted(freeze.layers, "layer")
        side = "token embeddings" if freeze.bias_is_trained else "language side"
        text = f"{side}, position embeddings, embedding LayerNorm, the bottom {layers}"
    return Fact("frozen", text, text)


def _origin(checkpoint: Checkpoint) -> list[Fact]:
    """Which checkpoint the run started from, and how its language side started."""
    task = checkpoint.config.get("task", {})
    base, given = task.get("base_checkpoint"), checkpoint.config.get("checkpoint") or {}
    if task.get("_name") == "language_adaptation":
        text = (
            f"the bottom {counted(checkpoint.layers, 'layer')} of {base or 'a checkpoint'}; "
            f"language side by --initialise {task.get('initialise')}"
        )
        value = {"checkpoint": base, "depth": checkpoint.layers}
        value |= {name: task.get(name) for name in ("initialise", "helper")}
        return [Fact("started from", text, value)]
    if start := given.get("finetune_from_model"):
        return [Fact("started from", str(start), {"checkpoint": start})]
    return []


def _epoch(checkpoint: Checkpoint) -> str:
    if not _was_trained(checkpoint):
        return "in the run that it was made from" if checkpoint.updates else ""
    place = checkpoint.extra_state.get("train_iterator") or {}
    epoch, batches = place.get("epoch", 1), place.get("iterations_in_epoch", 0)
    if batches:
        return f"in epoch {epoch}"
    return counted(epoch - 1, "whole epoch") if epoch > 1 else ""


def _validation(checkpoint: Checkpoint) -> list[Fact]:
    metric = (checkpoint.config.get("checkpoint") or {}).get("best_checkpoint_metric") or "loss"
    task = checkpoint.config.get("task", {}).get("_name")
    unit = UNITS.get(task, "") if metric == "loss" else "%" if metric == "accuracy" else ""
    return loss_facts(checkpoint.extra_state.get("val_loss"), unit, f"validation {metric}")


def _options(checkpoint: Checkpoint) -> list[Fact]:
    """The options of the run that decide about its outcome, as the command line has them."""
    if not _was_trained(checkpoint):
        return []
    options = {}
    for section, name, option in OPTIONS:
        value = _setting(checkpoint.config, section, name)
        if isinstance(value, list | tuple):
            value = ",".join(f"{one:g}" for one in value)
        if value not in LEFT_OUT and (option, value) not in ONE:
            options[option] = value
    texts = [
        f"--{name}" if value is True else f"--{name} {value}" for name, value in options.items()
    ]
    return [Fact("options", " ".join(texts), options)]


def _setting(config: Mapping[str, dict], section: str, name: str) -> object:
    """A setting of fairseq's configuration; before fairseq 0.11 all were in one flat namespace."""
    if isinstance(config.get(section), dict):
        return config[section].get(name)
    return config["model"].get(section if name == "_name" else name)


def _and(numbers: Sequence[int]) -> str:
    """ "2", "2 and 6", "2, 4 and 6"."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last
