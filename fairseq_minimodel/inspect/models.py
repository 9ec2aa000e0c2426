"""What a checkpoint, a language pack, a task module or a model in Hugging Face's form is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, make_dataclass
from math import prod
from pathlib import Path

import torch

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.cost import training_cost
from ..bodies.identity import decode, lineage_of
from ..bodies.language_side import StateDict
from ..bodies.parts import group_of, is_identity, listed, part_of
from ..bodies.surgery import head_layers
from ..bodies.tensors import (
    EMBEDDING,
    HEAD,
    LINEAGE,
    ORIGIN,
    OUTPUT_BIAS,
    OUTPUT_PROJECTION,
    TASK_BODY,
    VOCABULARY,
    middle_head,
)
from ..bodies.training_files import find_training_file, symbols_of
from ..bodies.training_log import flat
from ..bodies.weights import AGAIN, not_finite, open_safetensors
from ..cost.freezing import BOTTOM, parse_freeze
from ..errors import InputError
from ..files.records import read_record
from ..kinds import LABELS, MASKED, SPAN_HEAD, TAG_HEAD
from ..kinds.registry import KINDS, kind_of_task
from ..modules.method import NONE
from ..modules.registry import find_method
from ..packs.module import load_module, task_heads
from ..packs.pack import load_pack
from ..terminal.table import counted
from ..vocabulary.tokenizers import TOKENIZER_FILES, read_dictionary
from .facts import (
    Description,
    Fact,
    files_fact,
    in_words,
    loss_facts,
    training_fact,
    vocabulary_fact,
)

CHECKPOINTS = ("model.pt", "body.pt")  # in a folder of plug, of import-hf
# The options of a run that are shown, by their places in fairseq's configuration.
OPTIONS = """
    task._name criterion._name optimizer._name optimization.lr lr_scheduler._name
    lr_scheduler.warmup_updates optimizer.weight_decay dataset.batch_size dataset.max_tokens
    optimization.update_freq distributed_training.distributed_world_size task.tokens_per_sample
    model.dropout common.fp16 common.bf16 common.seed
"""
SAYS_NOTHING = (None, False, "", 0)  # as the value of an option
ONE = (("update_freq", "1"), ("distributed_world_size", 1))
# What is shown of a model's config.json, by the library's names.
SIZES = {
    "num_hidden_layers": "layers",
    "hidden_size": "width",
    "intermediate_size": "feed-forward",
    "num_attention_heads": "attention heads",
    "max_position_embeddings": "rows of positions",
    "vocab_size": "vocabulary",
}
Config = make_dataclass(
    "Config",
    [("model_type", str | None, None), ("architectures", list[str] | None, None)]
    + [(name, int | None, None) for name in SIZES],
)
SHOWN_TENSORS = 3  # of those that hold NaN or infinities


def describe_checkpoint(path: Path) -> Description:
    """A checkpoint of fairseq's or of this package's, or the one in a folder of plug or import-hf.

    Raises:
        InputError: as in `read_checkpoint`, or parts of the model are missing.
    """
    path = next((path / name for name in CHECKPOINTS if (path / name).is_file()), path)
    checkpoint = read_checkpoint(path, finite=False)
    given = {name: checkpoint.model_config.get(name) for name in checkpoint.family.unsupported}
    warnings = [
        f"trained with {name}={value}, which {checkpoint.family.model} does not have"
        for name, value in given.items()
        if value
    ]
    supported = checkpoint.replaced(checkpoint.state, **dict.fromkeys(given))
    try:
        sizes, cost = supported.body_settings(), training_cost(supported)
    except (KeyError, ValueError):
        raise InputError(
            f"{path} is not a complete {checkpoint.family.name}: it has a token embedding, but "
            "not all the layers and settings that go with it"
        ) from None
    weights = _weights(checkpoint)
    counts = _count((group_of(part_of(name)) for name in weights), weights)
    total = sum(counts.values())
    layers = _mlm_layers(checkpoint)
    places = listed(f"layer {layer}" for layer in layers)
    lineage, vocabulary = lineage_of(checkpoint.state), checkpoint.state.get(VOCABULARY)
    note = "" if LINEAGE in checkpoint.state else " (the digest of its body; none is written in it)"
    if ORIGIN in checkpoint.state:
        note = f" (trained on from the lineage {decode(checkpoint.state[ORIGIN])})"
    vocabulary = None if vocabulary is None else decode(vocabulary)
    loss = checkpoint.extra_state.get("val_loss")
    kind = kind_of_task(checkpoint.config.get("task", {}).get("_name"))
    metric = (checkpoint.config.get("checkpoint") or {}).get("best_checkpoint_metric") or "loss"
    unit = {"loss": kind.loss_unit if kind else "", "accuracy": "%"}.get(metric, "")
    facts = [
        Fact("sizes", sizes),
        Fact("parameters", {"all": total, **counts}, f"{total:,}: {in_words(counts)}"),
        _vocabulary(checkpoint, vocabulary, warnings),
        Fact("MLM heads", layers, f"after {places} (the last)" if layers else "none"),
        *_task(checkpoint, warnings),
        Fact("lineage", lineage, f"{lineage}{note}"),
        _frozen(checkpoint),
        *_origin(checkpoint),
        training_fact(cost),
        *loss_facts(loss, unit, f"validation {metric}"),
        *_options(checkpoint),
    ]
    settings = {
        **checkpoint.config,
        **asdict(cost),
        "validation_loss": None if loss is None else float(loss),
        "layers": checkpoint.layers,
        "lineage": lineage,
        "vocabulary": vocabulary,
    }
    return _model(path, "checkpoint", _title(checkpoint), facts, settings, weights, warnings)


def describe_pack(folder: Path) -> Description:
    """A language pack. Raises InputError as `load_pack` does."""
    pack = load_pack(folder, finite=False)
    about, side = pack.description, pack.side
    weights = side.tensors
    count = sum(tensor.numel() for tensor in weights.values())
    sizes = {"vocabulary": about.vocabulary_size, "width": about.width, "parameters": count}
    files = {"tokenizer": pack.tokenizer.name}
    facts = [
        Fact("sizes", sizes),
        vocabulary_fact(about.vocabulary_size, about.vocabulary, pack.symbols, files),
        Fact("lineage", about.lineage),
        Fact("trained over", about.depth, counted(about.depth, "layer")),
        training_fact(about),
        *loss_facts(about.validation_loss, KINDS[MASKED].loss_unit),
        Fact("versions", about.versions),
    ]
    title = f"language pack: {about.language}"
    return _model(folder, "language pack", title, facts, asdict(about), weights)


def describe_module(folder: Path) -> Description:
    """A task module. Raises InputError as `load_module` does."""
    module = load_module(folder, finite=False)
    about, kind, labels = module.description, module.method.name, folder / LABELS
    body = {"digest": about.body, "layers": about.layers, "width": about.width}
    facts = [
        Fact("settings", about.settings),
        Fact("parameters", about.parameters),
        _heads(about.heads, read_dictionary(labels) if labels.is_file() else []),
        Fact("lineage", about.lineage),
        Fact("body", body),
        training_fact(about),
        Fact("versions", about.versions),
    ]
    title = f"task module ({kind}){_purpose(about.task.get('_name'), about.heads)}"
    return _model(folder, "task module", title, facts, asdict(about), module.tensors)


def describe_hugging_face(folder: Path) -> Description:
    """A model in Hugging Face's form: what config.json and the headers of its weights say.

    Raises:
        InputError: config.json or a file of weights is damaged.
    """
    config = read_record(folder / "config.json", Config, AGAIN, others=True)
    sizes = {name: getattr(config, key) for key, name in SIZES.items()}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.safetensors")):
        with open_safetensors(path, AGAIN) as file:
            for name in file.keys():  # noqa: SIM118  (the file is not a dict)
                tensor = file.get_slice(name)
                counts[tensor.get_dtype()] += prod(tensor.get_shape())
    facts = [Fact("architectures", config.architectures or []), Fact("sizes", sizes)]
    if counts:  # of files of another form nothing is read
        facts += [Fact("parameters", sum(counts.values())), _precision(counts)]
    title = f"model in Hugging Face's form: {config.model_type or 'of no named type'}"
    return Description(folder, "Hugging Face model", title, [*facts, files_fact(folder)])


def _model(
    path: Path,
    kind: str,
    title: str,
    facts: Sequence[Fact],
    settings: dict[str, object],
    weights: StateDict,
    warnings: Sequence[str] = (),
) -> Description:
    """With the facts and warnings that only the weights and the files say."""
    types = (str(tensor.dtype).removeprefix("torch.") for tensor in weights.values())
    counts = _count(types, weights)
    facts = [*facts, _precision(counts), files_fact(path)]
    identity = settings.pop("lineage"), settings.pop("vocabulary", None)
    settings = {**flat(settings), "precision": ", ".join(counts)}
    spoilt = not_finite(weights)
    if (more := len(spoilt) - SHOWN_TENSORS) > 0:
        spoilt[SHOWN_TENSORS:] = [f"NaN or infinite values in {more} more tensors"]
    warnings = [*warnings, *spoilt]
    return Description(path, kind, title, facts, warnings, *identity, settings, weights)


def _precision(counts: Mapping[str, int]) -> Fact:
    """The types of the parameters, with their numbers where there are several."""
    return Fact("precision", dict(counts), in_words(counts if len(counts) > 1 else list(counts)))


# ---- weights


def _weights(checkpoint: Checkpoint) -> StateDict:
    """The weights of a checkpoint, each once, by names that mean the same in models of any depth.

    Left out are the buffers that say what the model is. A head that stands after the last layer is
    named as one after a middle layer is, so that it is found again in a model that is cut there.
    """
    state, last = checkpoint.state, middle_head(checkpoint.layers)
    is_tied = OUTPUT_PROJECTION in state and torch.equal(state[OUTPUT_PROJECTION], state[EMBEDDING])
    own = (OUTPUT_PROJECTION, OUTPUT_BIAS)
    return {
        name if name in own else name.replace(HEAD, last, 1): tensor
        for name, tensor in state.items()
        if not is_identity(name) and not (name == OUTPUT_PROJECTION and is_tied)
    }


def _count(keys: Iterable[str], weights: StateDict) -> dict[str, int]:
    """How many parameters there are for each key; a key for each tensor."""
    counts: Counter[str] = Counter()
    for key, tensor in zip(keys, weights.values(), strict=True):
        counts[key] += tensor.numel()
    return dict(counts)


# ---- facts


def _purpose(task: str | None, heads: Mapping[str, int]) -> str:
    """What a body or a task module is for, by its heads (outputs of each): " for classification"."""
    if SPAN_HEAD in heads:
        return " for question answering"
    if TAG_HEAD in heads:
        return f" for tagging words ({counted(heads[TAG_HEAD], 'tag', 'tags')})"
    if heads:
        return f" for classification ({counted(max(heads.values()), 'class', 'classes')})"
    return f" for {task}" if task else ""


def _title(checkpoint: Checkpoint) -> str:
    task, heads = checkpoint.config.get("task", {}).get("_name"), task_heads(checkpoint.state)
    middle, layers = _mlm_layers(checkpoint)[:-1], checkpoint.layers
    freeze = parse_freeze(checkpoint.model_config.get("freeze"))
    if TASK_BODY in checkpoint.state:
        module = find_method(checkpoint.model_config).name
        return f"body with a task module ({module}){_purpose(task, heads)}"
    if heads:
        return f"body fine-tuned{_purpose(task, heads)}"
    if task == "language_adaptation":
        return f"language side trained over {counted(layers, 'frozen layer')} (language adaptation)"
    if freeze.kind == BOTTOM:
        new, below = layers - freeze.layers, freeze.layers
        if not new:
            return f"MLM head trained on {counted(below, 'frozen layer')} (MiniPost, step 1b)"
        return f"{counted(new, 'layer')} trained on {below} frozen ones (MiniPost, step 1b)"
    if not _mlm_layers(checkpoint):
        return "body without an MLM head"
    if not _was_trained(checkpoint):
        return "body, imported or made out of another checkpoint"
    name = "meta-trained body" if task == "meta_masked_lm" else "pretrained body"
    if middle:
        heads = "an auxiliary MLM head" if len(middle) == 1 else "auxiliary MLM heads"
        places = listed(f"layer {layer}" for layer in middle)
        return f"{name} with {heads} after {places} (MiniJoint)"
    return name


def _was_trained(checkpoint: Checkpoint) -> bool:
    """Whether fairseq wrote it, in training: what this package writes has no place for the loss."""
    return "val_loss" in checkpoint.extra_state


def _mlm_layers(checkpoint: Checkpoint) -> list[int]:
    """The layers after which there is an MLM head, the last layer's last; none without that one."""
    return head_layers(checkpoint) if KINDS[MASKED].has_head(checkpoint.state, {}) else []


def _vocabulary(checkpoint: Checkpoint, fingerprint: str | None, warnings: list[str]) -> Fact:
    dictionary, symbols = _find(checkpoint, "dict.txt"), []
    if dictionary:
        try:
            symbols = symbols_of(checkpoint, dictionary)
        except InputError as error:
            warnings.append(str(error))
    files = {"dict.txt": dictionary, "tokenizer": _find(checkpoint, *TOKENIZER_FILES)}
    return vocabulary_fact(checkpoint.state[EMBEDDING].size(0), fingerprint, symbols, files)


def _find(checkpoint: Checkpoint, *names: str) -> str | None:
    try:
        return str(find_training_file(checkpoint, *names))
    except InputError:
        return None


def _task(checkpoint: Checkpoint, warnings: list[str]) -> list[Fact]:
    """The task module and the heads of a task, where there are any."""
    facts = []
    heads, is_modern = task_heads(checkpoint.state), checkpoint.family.is_modern
    method = find_method(checkpoint.model_config, has_gate=is_modern)
    if method.name != NONE:
        body = decode(checkpoint.state[TASK_BODY]) if TASK_BODY in checkpoint.state else None
        facts.append(Fact("task module", {**method.settings(), "body": body}))
    if heads:
        file = _find(checkpoint, LABELS)
        if not file and SPAN_HEAD not in heads:
            warnings.append(f"its labels ({LABELS}) are neither beside it nor in its data folder")
        facts.append(_heads(heads, read_dictionary(file) if file else []))
    return facts


def _heads(heads: Mapping[str, int], labels: Sequence[str]) -> Fact:
    """The heads of a task with the numbers of their outputs, and the labels where they are known."""
    return Fact("task heads", {"outputs": dict(heads), "labels": list(labels)})


def _frozen(checkpoint: Checkpoint) -> Fact:
    if not _was_trained(checkpoint):
        return Fact("frozen", None, "not known: no training wrote this file")
    if find_method(checkpoint.model_config).name != NONE:
        return Fact("frozen", "everything but the task module and its heads")
    return Fact("frozen", parse_freeze(checkpoint.model_config.get("freeze")).in_words())


def _origin(checkpoint: Checkpoint) -> list[Fact]:
    """Which checkpoint the run started from, and how its language side started."""
    task, given = checkpoint.config.get("task", {}), checkpoint.config.get("checkpoint") or {}
    if task.get("_name") == "language_adaptation":
        names = {name: task.get(name) for name in ("initialise", "helper")}
        start = {"checkpoint": task.get("base_checkpoint"), "depth": checkpoint.layers, **names}
        return [Fact("started from", start)]
    start = given.get("finetune_from_model")
    return [Fact("started from", {"checkpoint": start})] if start else []


def _options(checkpoint: Checkpoint) -> list[Fact]:
    """The options of the run that decide about its outcome, as the command line has them."""
    if not _was_trained(checkpoint):
        return []
    options, config = {}, flat(checkpoint.config)
    for place in OPTIONS.split():
        section, name = place.split(".")
        option = section if name == "_name" else name
        # before fairseq 0.11 all were in one flat namespace
        value = config.get(place, checkpoint.model_config.get(option))
        if isinstance(value, list | tuple):
            value = ",".join(f"{one:g}" for one in value)
        if value not in SAYS_NOTHING and (option, value) not in ONE:
            options[option.replace("_", "-")] = value
    given = (
        f"--{name}" if value is True else f"--{name} {value}" for name, value in options.items()
    )
    return [Fact("options", options, " ".join(given))]
