"""What binarised data, a dictionary or a tokenizer is; read with numpy alone."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from ..corpus.indexed import INDEX, TOKENS, mapped, read_sizes
from ..corpus.record import RECORD_NAME, read_prepared
from ..errors import InputError
from ..kinds.window_options import NO_ANSWER, SPANS, WINDOWS
from ..terminal.progress import Progress
from ..vocabulary.symbols import fingerprint, read_symbols
from ..vocabulary.tokenizers import (
    EOS,
    SPECIAL_SYMBOLS,
    TOKENIZER_FILES,
    UNK,
    dictionary_pieces,
    load_tokenizer,
    read_dictionary,
)
from .facts import (
    FIRST_PIECES,
    Description,
    Fact,
    counted,
    files_fact,
    format_bytes,
    joined,
    pairs,
    vocabulary_fact,
)

CHUNK = 1 << 22  # tokens read at a time
DICTIONARY, LABEL, INPUTS = "dict.txt", "label", ("input0", "input1")


class Dataset:
    """One split of binarised data: `PREFIX.idx` and `PREFIX.bin` (`corpus/indexed.py`).

    `sizes` are the tokens of each item, (items,). Raises InputError as `read_sizes` does.
    """

    def __init__(self, prefix: Path) -> None:
        self.path = prefix.with_name(f"{prefix.name}{TOKENS}")
        self._type, self.sizes = read_sizes(prefix)
        self.tokens = int(self.sizes.sum(dtype=np.int64))
        files = self.path, prefix.with_name(f"{prefix.name}{INDEX}")
        self.bytes = sum(file.stat().st_size for file in files)

    def read(self) -> np.ndarray:
        """The tokens of all items, one after another (tokens,); not in memory."""
        return mapped(self.path, self._type, self.tokens)

    def pairs(self, of: "Dataset") -> np.ndarray:
        """Two tokens for each item of another dataset, as labels and spans are: (items, 2)."""
        if len(self.sizes) != len(of.sizes):
            raise InputError(
                f"{of.path} has {len(of.sizes):,} items and {self.path} {len(self.sizes):,}: they "
                "belong together; prepare the data again"
            )
        if (self.sizes != 2).any():
            raise InputError(
                f"{self.path} has items of other lengths than two tokens; prepare the data again"
            )
        return self.read().reshape(-1, 2)


def describe_text(folder: Path) -> Description:
    """Data for masked language modelling: one folder, or a folder of shards.

    Raises:
        InputError: a file is missing, damaged or in another format.
    """
    path, shards = folder / RECORD_NAME, shards_in(folder)
    record = read_prepared(path) if path.is_file() else {"counts": {}}
    splits = {shard.name: splits_in(shard) for shard in shards}
    facts, warnings = [], []
    for name in dict.fromkeys(chain.from_iterable(splits.values())):
        parts = [found[name] for found in splits.values() if name in found]
        told = record["counts"].get(name, {})
        fact = _text_fact(name, parts, told.get("documents"), told.get("unknown_share"))
        if told and told.get("tokens") != fact.value["tokens"]:
            warnings.append(
                f"{RECORD_NAME} is of other data: it says {told.get('tokens')} tokens of {name}"
            )
        facts.append(fact)
    sizes = {shard: sum(split.bytes for split in found.values()) for shard, found in splits.items()}
    if len(shards) > 1:
        text = joined(*(f"{shard} {format_bytes(size)}" for shard, size in sizes.items()))
        facts.append(Fact("shards", text, sizes))
    tokenizer = next((name for name in TOKENIZER_FILES if (shards[0] / name).is_file()), None)
    facts.append(_vocabulary(shards[0] / DICTIONARY, {"tokenizer": tokenizer}))
    facts += [*_prepared(record), _size(folder)]
    title = f"data for masked language modelling, {counted(len(shards), 'shard')}"
    return Description(folder, "data", title, facts, warnings)


def describe_classification(folder: Path) -> Description:
    """Labelled sentences or pairs, as fairseq's task `sentence_prediction` reads them.

    Raises:
        InputError: as in `describe_text`.
    """
    labels = read_dictionary(folder / LABEL / DICTIONARY)
    inputs = [name for name in INPUTS if (folder / name).is_dir()]
    texts = {name: splits_in(folder / name) for name in inputs}
    facts = []
    for name, answers in splits_in(folder / LABEL).items():
        parts = {key: splits[name] for key, splits in texts.items() if name in splits}
        pairs_of = [answers.pairs(part) for part in (answers, *parts.values())]
        classes = pairs_of[0][:, 0].astype(np.int64) - len(SPECIAL_SYMBOLS)
        counts = np.bincount(classes[classes >= 0], minlength=len(labels)).tolist()
        value = {
            "examples": len(answers.sizes),
            "labels": dict(zip(labels, counts, strict=False)),
            **{key: _counts([part]) for key, part in parts.items()},
        }
        words = [f"{key} {_counts_text(value[key], 'text')}" for key in parts]
        examples = counted(value["examples"], "example")
        text = joined(examples, *words, f"labels {pairs(value['labels'])}", by="; ")
        facts.append(Fact(name, text, value))
    facts.append(Fact("labels", ", ".join(labels), labels))
    facts += [_vocabulary(folder / inputs[0] / DICTIONARY, {}), _size(folder)]
    kind = "sentences" if len(inputs) == 1 else "sentence pairs"
    title = f"{kind} for classification ({counted(len(labels), 'class', 'classes')})"
    return Description(folder, "data", title, facts)


def describe_questions(folder: Path) -> Description:
    """Windows of questions with their contexts, as the task `span_qa` reads them.

    Raises:
        InputError: as in `describe_text`.
    """
    spans = splits_in(folder / SPANS)
    facts = []
    for name, split in splits_in(folder / WINDOWS).items():
        if name not in spans:
            raise InputError(f"{folder / SPANS} has no {name}: prepare the questions again")
        answered = int((spans[name].pairs(split) != NO_ANSWER).any(axis=1).sum())
        value = {"windows": len(split.sizes), "with_answer": answered, **_counts([split])}
        text = (
            f"{counted(len(split.sizes), 'window')}, {answered:,} of them with the answer; "
            f"{_counts_text(value, 'window')}"
        )
        facts.append(Fact(name, text, value))
    facts += [_vocabulary(folder / DICTIONARY, {}), _size(folder)]
    return Description(folder, "data", "questions for span_qa", facts)


def describe_dictionary(path: Path) -> Description:
    """A dict.txt of fairseq. Raises InputError as `read_dictionary` does."""
    own, vocabulary = len(read_dictionary(path)), _vocabulary(path, {})
    added = vocabulary.value["size"] - own
    lines = Fact("lines", f"{own:,}; fairseq adds {added} special symbols", own)
    facts = [lines, vocabulary, files_fact(path)]
    return Description(path, "dictionary", "dictionary of fairseq", facts)


def describe_tokenizer(path: Path) -> Description:
    """A SentencePiece model or a tokenizer.json. Raises InputError as `load_tokenizer` does."""
    model = load_tokenizer(path)
    pieces = [piece for piece, _ in dictionary_pieces(model)]
    first = pieces[:FIRST_PIECES]
    text = f"{len(model):,}, {len(pieces):,} of them for dict.txt, the first {' '.join(first)}"
    value = {"all": len(model), "for_dictionary": len(pieces), "first_pieces": first}
    kind = "tokenizer.json" if path.suffix == ".json" else "SentencePiece model"
    return Description(path, "tokenizer", kind, [Fact("pieces", text, value), files_fact(path)])


def shards_in(folder: Path) -> list[Path]:
    """The folders that hold binarised data, in order: the folder itself, or those in it."""
    if any(folder.glob(f"*{INDEX}")):
        return [folder]
    return sorted({path.parent for path in folder.glob(f"[!.]*/*{INDEX}")})  # a dot: unfinished


def splits_in(folder: Path) -> dict[str, Dataset]:
    """The splits in a folder by their names, the training data first."""
    names = {path.stem for end in (INDEX, TOKENS) for path in folder.glob(f"*{end}")}
    names = sorted(names, key=lambda name: (not name.startswith("train"), name))
    return {name: Dataset(folder / name) for name in names}


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
    known = "" if documents is None else counted(documents, "document")
    text = joined(known, counted(counts["lines"], "line"), _counts_text(counts, "line"))
    return Fact(name, text, counts)


def _counts(parts: Sequence[Dataset], unknown: float | None = None) -> dict[str, object]:
    """Tokens, </s> included; the share of <unk> among the others; tokens of the longest item."""
    return {
        "tokens": sum(part.tokens for part in parts),
        "unknown_share": _unknown_share(parts) if unknown is None else unknown,
        "longest": max((int(part.sizes.max(initial=0)) for part in parts), default=0),
    }


def _unknown_share(parts: Sequence[Dataset]) -> float:
    unknown = pieces = 0
    total = sum(part.read().nbytes for part in parts)
    with Progress("counting unknown tokens", total) as progress:
        for part in parts:
            tokens = part.read()
            for start in range(0, len(tokens), CHUNK):
                chunk = tokens[start : start + CHUNK]
                unknown += int((chunk == UNK).sum())
                pieces += int((chunk != EOS).sum())
                progress.update(chunk.nbytes)
    return round(unknown / max(pieces, 1), 8)


def _counts_text(counts: Mapping[str, object], item: str) -> str:
    return (
        f"{counted(counts['tokens'], 'token')}, {100 * counts['unknown_share']:.3g} % unknown, "
        f"longest {item} {counts['longest']:,}"
    )


def _vocabulary(dictionary: Path, files: Mapping[str, str | None]) -> Fact:
    """The symbols of a dict.txt, with <mask>, as a masked language model has it."""
    symbols = read_symbols(dictionary)
    return vocabulary_fact(len(symbols), fingerprint(symbols), symbols, files)


def _prepared(record: Mapping) -> list[Fact]:
    """What was read, and what was left out of it, as `prepare` wrote it down."""
    inputs = [entry["name"] for entry in record.get("inputs", [])]
    names = ("documents", "too_short", "duplicates", "text_bytes")
    documents, short, duplicates, size = counts = [record["counts"].get(name) for name in names]
    if None in counts:
        return []
    text = (
        f"{', '.join(inputs)}: {counted(documents, 'document')}, of which {short:,} too short and "
        f"{duplicates:,} duplicates are left out; {format_bytes(size)} of text"
    )
    value = dict(zip(names, counts, strict=True))
    return [Fact("prepared from", text, {"files": inputs, **value})]


def _size(folder: Path) -> Fact:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Fact("files", format_bytes(size), size)
