"""The files with which sentence-transformers says how a model makes sentence vectors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..bodies.weights import AGAIN
from ..files.records import read_json, read_record, record
from ..nn.pooling import CLS, MAX, MEAN

MODULES, LENGTH = "modules.json", "sentence_bert_config.json"
POOLING, NORMALISE = "1_Pooling", "2_Normalize"
VERSIONS = "config_sentence_transformers.json"
FILES = (MODULES, LENGTH, VERSIONS, f"{POOLING}/config.json", f"{NORMALISE}/config.json")
KINDS = ("Transformer", "Pooling", "Normalize")  # the modules that are known here, in their order
FLAGS = {  # of 1_Pooling/config.json
    "pooling_mode_cls_token": CLS,
    "pooling_mode_mean_tokens": MEAN,
    "pooling_mode_max_tokens": MAX,
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class _Module:
    type: str
    path: str = ""


@dataclass(frozen=True)
class _Length:
    max_seq_length: int | None = None
    do_lower_case: bool = False


def read_sentence_settings(model: Path, positions: int) -> tuple[dict[str, object], list[str]]:
    """The settings of a body for sentence vectors, and what there is to say about them.

    Args:
        model: folder in Hugging Face's form. Without modules.json it has no settings.
        positions: of the model.

    Raises:
        InputError: a file is damaged.
    """
    path = model / MODULES
    if not path.is_file():
        return {}, []
    modules = [
        record(one, _Module, path, AGAIN, others=True)
        for one in record({"all": read_json(path, AGAIN)}, _All, path, AGAIN).all
    ]
    kinds = tuple(one.type.rpartition(".")[2] for one in modules)
    if kinds not in (KINDS[:2], KINDS):
        return {}, [_left_out(f"its modules are {', '.join(kinds) or 'none'}")]
    folder = model / Path(modules[1].path).name  # never outside
    poolings = _poolings(read_record(folder / "config.json", dict[str, object], AGAIN))
    length = _Length()
    if (model / LENGTH).is_file():
        length = read_record(model / LENGTH, _Length, AGAIN, others=True)
    if len(poolings) != 1 or poolings[0] not in (MEAN, CLS, MAX):
        return {}, [_left_out(f"its pooling is {' and '.join(poolings) or 'not known'}")]
    if length.do_lower_case:
        return {}, [_left_out(f"{LENGTH} has do_lower_case, which only a tokenizer does here")]
    settings = {
        "sentence_pooling": poolings[0],
        "sentence_normalise": kinds == KINDS,
        "sentence_length": length.max_seq_length and max(3, min(length.max_seq_length, positions)),
    }
    return settings, [f"for sentence vectors ({in_words(settings)})"]


@dataclass(frozen=True)
class _All:
    all: list[object]


def _poolings(config: Mapping[str, object]) -> list[str]:
    named = config.get("pooling_mode")
    if named is None:
        return [name for flag, name in FLAGS.items() if config.get(flag) is True]
    return [str(one) for one in (named if isinstance(named, list) else [named])]


def _left_out(reason: str) -> str:
    return f"not for sentence vectors here, as {reason}, and mean, cls or max is known"


def in_words(settings: Mapping[str, object]) -> str:
    """How vectors are made: "mean, of length 1, of at most 256 tokens"."""
    parts = [str(settings["sentence_pooling"])]
    parts += ["of length 1"] * bool(settings["sentence_normalise"])
    if settings["sentence_length"]:
        parts.append(f"of at most {settings['sentence_length']} tokens")
    return ", ".join(parts)


def write_sentence_settings(
    folder: Path, settings: Mapping[str, object], width: int, positions: int
) -> None:
    """Write the files beside a model in Hugging Face's form, as all versions of the library read them.

    Args:
        settings: of the body.
        width, positions: of the model.
    """
    kinds = KINDS if settings["sentence_normalise"] else KINDS[:2]
    places = ("", POOLING, NORMALISE)
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": place,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (kind, place) in enumerate(zip(kinds, places, strict=False))
    ]
    flags = {flag: name == settings["sentence_pooling"] for flag, name in FLAGS.items()}
    contents: dict[str, object] = {
        MODULES: modules,
        f"{POOLING}/config.json": {"word_embedding_dimension": width, **flags},
        LENGTH: {
            "max_seq_length": settings["sentence_length"] or positions,
            "do_lower_case": False,
        },
        VERSIONS: {"__version__": {}, "prompts": {}, "similarity_fn_name": "cosine"},
    }
    if kinds == KINDS:
        contents[f"{NORMALISE}/config.json"] = {}
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
