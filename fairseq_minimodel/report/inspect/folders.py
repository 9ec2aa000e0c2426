"""What a language pack, a task module or a model in Hugging Face's form is."""

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ...bodies.weights import AGAIN, open_safetensors
from ...files.records import read_record
from ...packs.module import load_module
from ...packs.pack import load_pack
from ...vocabulary.tokenizers import read_dictionary
from .checkpoint import MASKED, heads_fact, purpose
from .facts import (
    Description,
    Fact,
    counted,
    files_fact,
    loss_facts,
    pairs,
    precision_fact,
    training_fact,
    vocabulary_fact,
)
from .weights import not_finite, precisions

CONFIG = "config.json"


@dataclass(frozen=True)
class _Config:
    """What is read of a model's config.json, by the library's names."""

    model_type: str | None = None
    architectures: list[str] | None = None
    num_hidden_layers: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_attention_heads: int | None = None
    max_position_embeddings: int | None = None
    vocab_size: int | None = None


def describe_pack(folder: Path) -> Description:
    """A language pack. Raises InputError as `load_pack` does."""
    pack = load_pack(folder, finite=False)
    about, side = pack.description, pack.side
    weights = {"embed_tokens.weight": side.embedding, "lm_head.bias": side.bias}
    count = sum(tensor.numel() for tensor in weights.values())
    sizes = {"vocabulary": about.vocabulary_size, "width": about.width, "parameters": count}
    text = f"{about.vocabulary_size:,} symbols x width {about.width}: {count:,} parameters"
    files = {"tokenizer": pack.tokenizer.name}
    facts = [
        Fact("sizes", text, sizes),
        vocabulary_fact(about.vocabulary_size, about.vocabulary, pack.symbols, files),
        Fact("lineage", about.lineage, about.lineage),
        Fact("trained over", counted(about.depth, "layer"), about.depth),
        training_fact(about.updates or 0, about.tokens, about.flops, about.seconds),
        *loss_facts(about.validation_loss, MASKED),
        precision_fact(precisions(weights)),
        _files(folder),
        Fact("versions", pairs(about.versions), about.versions),
    ]
    title = f"language pack: {about.language}"
    return Description(folder, "language pack", title, facts, not_finite(weights))


def describe_module(folder: Path) -> Description:
    """A task module. Raises InputError as `load_module` does."""
    module = load_module(folder, finite=False)
    about, kind = module.description, module.method.name
    body = {"digest": about.body, "layers": about.layers, "width": about.width}
    text = f"{about.body}: {counted(about.layers, 'layer')}, width {about.width}"
    facts = [
        Fact("settings", pairs(about.settings), about.settings),
        Fact("parameters", f"{about.parameters:,}", about.parameters),
        heads_fact(about.heads, read_dictionary(module.labels) if module.labels else []),
        Fact("lineage", about.lineage, about.lineage),
        Fact("body", text, body),
        training_fact(about.updates),
        precision_fact(precisions(module.tensors)),
        _files(folder),
        Fact("versions", pairs(about.versions), about.versions),
    ]
    title = f"task module ({kind}){purpose(about.task.get('_name'), about.heads)}"
    return Description(folder, "task module", title, facts, not_finite(module.tensors))


def describe_hugging_face(folder: Path) -> Description:
    """A model in Hugging Face's form: what config.json and the headers of its weights say.

    Raises:
        InputError: config.json or a file of weights is damaged.
    """
    path = folder / CONFIG
    config = read_record(path, _Config, AGAIN, others=True)
    kind, names = config.model_type, config.architectures or []
    architectures = ", ".join(names) or "not named"
    shown = {
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "feed-forward": config.intermediate_size,
        "attention heads": config.num_attention_heads,
        "rows of positions": config.max_position_embeddings,
        "vocabulary": config.vocab_size,
    }
    sizes = {name: size for name, size in shown.items() if size is not None}
    counts = _weights(folder)
    total = f"{sum(counts.values()):,}" if counts else "not counted: there is no .safetensors file"
    facts = [
        Fact("architectures", architectures, names),
        Fact("sizes", pairs(sizes), sizes),
        Fact("parameters", total, sum(counts.values()) if counts else None),
        *([precision_fact(counts)] if counts else []),
        _files(folder),
    ]
    title = f"model in Hugging Face's form: {kind or 'of no named type'}"
    return Description(folder, "Hugging Face model", title, facts)


def _weights(folder: Path) -> dict[str, int]:
    """How many parameters there are of each type, by the headers of the .safetensors files."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.safetensors")):
        with open_safetensors(path, AGAIN) as file:
            for name in file.keys():  # noqa: SIM118  (the file is no dict)
                tensor = file.get_slice(name)
                counts[tensor.get_dtype()] += prod(tensor.get_shape())
    return dict(counts)


def _files(folder: Path) -> Fact:
    return files_fact(sorted(path for path in folder.iterdir() if path.is_file()))
