"""What binarised data, a dictionary or a tokenizer is."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from ...corpus.record import RECORD_NAME, read_prepared
from ...errors import InputError
from ...kinds.window_options import NO_ANSWER, SPANS, WINDOWS
from ...packs.pack import DICTIONARY
from ...vocabulary.symbols import fingerprint, read_symbols
from ...vocabulary.tokenizers import (
    SPECIAL_SYMBOLS,
    TOKENIZER_FILES,
    dictionary_pieces,
    load_tokenizer,
    read_dictionary,
)
from .dataset import Dataset, shards_in, splits_in, unknown_share
from .facts import (
    FIRST_PIECES,
    Description,
    Fact,
    counted,
    files_fact,
    format_bytes,
    pairs,
    vocabulary_fact,
)

LABEL, INPUTS = "label", ("input0", "input1")


def describe_text(folder: Path) -> Description:
    """Data for masked language modelling: one folder, or a folder of shards.

    Raises:
        InputError: a file is missing, damaged or in another format.
    """
    record, shards = _record(folder), shards_in(folder)
    splits = {shard.name: splits_in(shard) for shard in shards}
    facts, warnings = [], []
    for name in _names(splits.values()):
        parts = [found[name] for found in splits.values() if name in found]
        told = record.get("counts", {}).get(name, {})
        fact = _text_fact(name, parts, told.get("documents"), told.get("unknown_share"))
        if told and told.get("tokens") != fact.value["tokens"]:
            warnings.append(
                f"{RECORD_NAME} is of other data: {name} has {told.get('tokens')} tokens there"
            )
        facts.append(fact)
    sizes = {shard: sum(split.bytes for split in found.values()) for shard, found in splits.items()}
    if len(shards) > 1:
        text = ", ".join(f"{shard} {format_bytes(size)}" for shard, size in sizes.items())
        facts.append(Fact("shards", text, sizes))
    tokenizer = next((name for name in TOKENIZER_FILES if (shards[0] / name).is_file()), None)
    facts.append(_vocabulary(shards[0], {"tokenizer": tokenizer}))
    facts += [*(_prepared(record) if record else []), _size(folder)]
    title = f"data for masked language modelling, {counted(len(shards), 'shard')}"
    return Description(folder, "data", title, facts, warnings)


def describe_classification(folder: Path) -> Description:
    """Labelled sentences or pairs, as fairseq's task `sentence_prediction` reads them.

    Raises:
        InputError: as in `describe_text`.
    """
    labels = read_dictionary(folder / LABEL / DICTIONARY)
    inputs = [folder / name for name in INPUTS if (folder / name).is_dir()]
    splits = {path.name: splits_in(path) for path in (*inputs, folder / LABEL)}
    facts = []
    for name, answers in splits[LABEL].items():
        texts = {path.name: splits[path.name][name] for path in inputs if name in splits[path.name]}
        for split in texts.values():
            split.check_same_items(answers)
        classes = answers.pairs()[:, 0].astype(np.int64) - len(SPECIAL_SYMBOLS)
        counts = np.bincount(classes[classes >= 0], minlength=len(labels)).tolist()
        value = {
            "examples": len(answers.sizes),
            "labels": dict(zip(labels, counts, strict=False)),
            **{key: _counts([split]) for key, split in texts.items()},
        }
        words = [
            counted(len(answers.sizes), "example"),
            *(f"{key} {_counts_text(value[key], 'text')}" for key in texts),
            f"labels {pairs(value['labels'])}",
        ]
        facts.append(Fact(name, "; ".join(words), value))
    kind = "sentences" if len(inputs) == 1 else "sentence pairs"
    names = Fact("labels", ", ".join(labels), labels)
    facts += [names, _vocabulary(inputs[0], {}), _size(folder)]
    title = f"{kind} for classification ({counted(len(labels), 'class', 'classes')})"
    return Description(folder, "data", title, facts)


def describe_questions(folder: Path) -> Description:
    """Windows of questions with their contexts, as the task `span_qa` reads them.

    Raises:
        InputError: as in `describe_text`.
    """
    windows, spans = splits_in(folder / WINDOWS), splits_in(folder / SPANS)
    facts = []
    for name, split in windows.items():
        if name not in spans:
            raise InputError(f"{folder / SPANS} has no {name}: prepare the questions again")
        spans[name].check_same_items(split)
        answered = int((spans[name].pairs() != NO_ANSWER).any(axis=1).sum())
        value = {"windows": len(split.sizes), "with_answer": answered, **_counts([split])}
        text = (
            f"{counted(len(split.sizes), 'window')}, {answered:,} of them with the answer; "
            f"{_counts_text(value, 'window')}"
        )
        facts.append(Fact(name, text, value))
    facts += [_vocabulary(folder, {}), _size(folder)]
    return Description(folder, "data", "questions for span_qa", facts)


def describe_dictionary(path: Path) -> Description:
    """A dict.txt of fairseq. Raises InputError as `read_dictionary` does."""
    symbols = read_symbols(path)
    own = len(read_dictionary(path))
    facts = [
        Fact("lines", f"{own:,}; fairseq adds {len(symbols) - own} special symbols", own),
        vocabulary_fact(len(symbols), fingerprint(symbols), symbols, {}),
        files_fact([path]),
    ]
    return Description(path, "dictionary", "dictionary of fairseq", facts)


def describe_tokenizer(path: Path) -> Description:
    """A SentencePiece model or a tokenizer.json. Raises InputError as `load_tokenizer` does."""
    model = load_tokenizer(path)
    pieces = [piece for piece, _ in dictionary_pieces(model)]
    first = pieces[:FIRST_PIECES]
    text = f"{len(model):,}, {len(pieces):,} of them for dict.txt, the first {' '.join(first)}"
    value = {"all": len(model), "for_dictionary": len(pieces), "first_pieces": first}
    facts = [Fact("pieces", text, value), files_fact([path])]
    kind = "tokenizer.json" if path.suffix == ".json" else "SentencePiece model"
    return Description(path, "tokenizer", kind, facts)


def _names(shards: Sequence[dict[str, Dataset]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(shards)))


def _text_fact(
    name: str, parts: Sequence[Dataset], documents: int | None, unknown: float | None
) -> Fact:
    """What a split of running text holds, over all its shards. A line is an item of two tokens or
    more; the items of one token, </s>, stand between documents."""
    items = sum(len(part.sizes) for part in parts)
    between = sum(int((part.sizes == 1).sum()) for part in parts)
    if between:
        documents = between + len(parts)
    counts = {"documents": documents, "lines": items - between, **_counts(parts, unknown)}
    text = [counted(documents, "document")] if documents is not None else []
    text += [counted(counts["lines"], "line"), _counts_text(counts, "line")]
    return Fact(name, ", ".join(text), counts)


def _counts(parts: Sequence[Dataset], unknown: float | None = None) -> dict[str, object]:
    """Tokens, </s> included; the share of <unk> among the others; tokens of the longest item."""
    return {
        "tokens": sum(part.tokens for part in parts),
        "unknown_share": unknown_share(parts) if unknown is None else unknown,
        "longest": max((part.longest for part in parts), default=0),
    }


def _counts_text(counts: dict[str, object], item: str) -> str:
    return (
        f"{counted(counts['tokens'], 'token')}, {100 * counts['unknown_share']:.3g} % unknown, "
        f"longest {item} {counts['longest']:,}"
    )


def _vocabulary(folder: Path, files: Mapping[str, str | None]) -> Fact:
    """The dictionary of a folder of data, with <mask>, as a masked language model has it."""
    symbols = read_symbols(folder / DICTIONARY)
    return vocabulary_fact(len(symbols), fingerprint(symbols), symbols, files)


def _record(folder: Path) -> dict:
    """What `prepare` wrote down; empty if the data is not its."""
    path = folder / RECORD_NAME
    if not path.is_file():
        return {}
    record = read_prepared(path)
    try:
        _prepared(record)
        return record
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); prepare the data again") from None


def _prepared(record: dict) -> list[Fact]:
    """What was read, and what was left out of it."""
    counts, inputs = record["counts"], [entry["name"] for entry in record["inputs"]]
    value = {name: counts[name] for name in ("documents", "too_short", "duplicates", "text_bytes")}
    text = (
        f"{', '.join(inputs)}: {counted(counts['documents'], 'document')}, of which "
        f"{counts['too_short']:,} too short and {counts['duplicates']:,} duplicates are left out; "
        f"{format_bytes(counts['text_bytes'])} of text"
    )
    return [Fact("prepared from", text, {"files": inputs, **value})]


def _size(folder: Path) -> Fact:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Fact("files", format_bytes(size), size)
