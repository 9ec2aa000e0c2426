"""What binarised data, a dictionary or a tokenizer is; read with numpy alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..corpus.indexed import Split, shards_in, splits_in
from ..corpus.record import AGAIN, RECORD_NAME, read_prepared
from ..errors import InputError
from ..kinds.window_options import NO_ANSWER, SPANS, TAG_CLASSES, WINDOWS
from ..terminal.progress import Progress
from ..terminal.table import counted, format_bytes
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
from .facts import FIRST_PIECES, Description, Fact, files_fact, vocabulary_fact

CHUNK = 1 << 22  # tokens read at a time
DICTIONARY, LABEL, INPUTS = "dict.txt", "label", ("input0", "input1")


def describe_text(folder: Path) -> Description:
    """Data for masked language modelling: one folder, or a folder of shards.

    Raises:
        InputError: a file is missing, damaged or in another format.
    """
    path, shards = folder / RECORD_NAME, shards_in(folder)
    record = read_prepared(path) if path.is_file() else {"counts": {}}
    splits = [splits_in(shard) for shard in shards]
    facts, warnings = [], []
    for name in dict.fromkeys(name for found in splits for name in found):
        told = record["counts"].get(name, {})
        fact = _text_fact(name, [found[name] for found in splits if name in found], told)
        if told and told.get("tokens") != fact.value["tokens"]:
            warnings.append(
                f"{RECORD_NAME} is of other data: it says {told.get('tokens')} tokens of {name}"
            )
        facts.append(fact)
    tokenizer = next((name for name in TOKENIZER_FILES if (shards[0] / name).is_file()), None)
    facts.append(_vocabulary(shards[0] / DICTIONARY, {"tokenizer": tokenizer}))
    if "inputs" in record:  # what was read, and what was left out of it, as `prepare` wrote it down
        files = [entry["name"] for entry in record["inputs"]]
        names = ("documents", "too_short", "duplicates", "text_bytes")
        counts = {name: record["counts"].get(name) for name in names}
        facts.append(Fact("prepared from", {"files": files, **counts}))
    facts.append(_files(folder))
    title = f"data for masked language modelling, {counted(len(shards), 'shard')}"
    return Description(folder, "data", title, facts, warnings)


def describe_classification(folder: Path) -> Description:
    """Labelled sentences or pairs, as fairseq's task `sentence_prediction` reads them.

    Raises:
        InputError: as in `describe_text`.
    """
    labels = read_dictionary(folder / LABEL / DICTIONARY)
    inputs, facts = [name for name in INPUTS if (folder / name).is_dir()], []
    for name, (answers, *texts) in _splits(folder, LABEL, *inputs):
        value = {
            "examples": len(answers.sizes),
            "labels": _occurrences(labels, _two_tokens(answers)[:, 0]),
            **{key: _counts([text]) for key, text in zip(inputs, texts, strict=True)},
        }
        facts.append(Fact(name, value))
    facts.append(Fact("labels", labels))
    facts += [_vocabulary(folder / INPUTS[0] / DICTIONARY), _files(folder)]
    kind = "sentences" if len(inputs) == 1 else "sentence pairs"
    title = f"{kind} for classification ({counted(len(labels), 'class', 'classes')})"
    return Description(folder, "data", title, facts)


def describe_questions(folder: Path) -> Description:
    """Windows of questions with their contexts, as the task `span_qa` reads them.

    Raises:
        InputError: as in `describe_text`.
    """
    facts = []
    for name, (split, spans) in _splits(folder, WINDOWS, SPANS):
        answered = int((_two_tokens(spans) != NO_ANSWER).any(axis=1).sum())
        value = {"windows": len(split.sizes), "with_answer": answered, **_counts([split])}
        facts.append(Fact(name, value))
    facts += [_vocabulary(folder / DICTIONARY), _files(folder)]
    return Description(folder, "data", "questions for span_qa", facts)


def describe_tags(folder: Path) -> Description:
    """Windows of tagged words, as the task `tagging` reads them.

    Raises:
        InputError: as in `describe_text`.
    """
    labels = read_dictionary(folder / LABEL / DICTIONARY)
    facts = []
    for name, (split, classes) in _splits(folder, WINDOWS, TAG_CLASSES):
        if not np.array_equal(classes.sizes, split.sizes):
            raise InputError(f"{classes.path} has not one tag for each token of {name}; {AGAIN}")
        tags = _occurrences(labels, classes.tokens)
        value = {"windows": len(split.sizes), "words": sum(tags.values()), "tags": tags}
        facts.append(Fact(name, {**value, **_counts([split])}))
    facts += [Fact("tags", labels), _vocabulary(folder / DICTIONARY), _files(folder)]
    title = f"tagged words ({counted(len(labels), 'tag', 'tags')})"
    return Description(folder, "data", title, facts)


def describe_dictionary(path: Path) -> Description:
    """A dict.txt of fairseq. Raises InputError as `read_dictionary` does."""
    own, vocabulary = len(read_dictionary(path)), _vocabulary(path)
    added = vocabulary.value["size"] - own
    lines = Fact("lines", own, f"{own:,}; fairseq adds {added} special symbols")
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
    return Description(path, "tokenizer", kind, [Fact("pieces", value, text), files_fact(path)])


def _text_fact(name: str, parts: Sequence[Split], told: Mapping) -> Fact:
    """What a split of running text holds, over all its shards. A line is an item of two tokens or
    more; the items of one token, </s>, stand between documents."""
    between = sum(int((part.sizes == 1).sum()) for part in parts)
    documents = between + len(parts) if between else told.get("documents")
    lines = sum(len(part.sizes) for part in parts) - between
    counts = _counts(parts, told.get("unknown_share"))
    return Fact(name, {"documents": documents, "lines": lines, **counts})


def _splits(folder: Path, *names: str) -> Iterator[tuple[str, list[Split]]]:
    """The splits in folders that belong together, item by item: the name, and one of each folder."""
    parts = [splits_in(folder / name) for name in names]
    for name in parts[0]:
        if any(name not in part for part in parts):
            raise InputError(f"{folder} has no {name} in all of {', '.join(names)}; {AGAIN}")
        found = [part[name] for part in parts]
        if len({len(one.sizes) for one in found}) > 1:
            counts = " and ".join(f"{one.path} has {len(one.sizes):,} items" for one in found)
            raise InputError(f"{counts}: they belong together; {AGAIN}")
        yield name, found


def _two_tokens(split: Split) -> np.ndarray:
    """Two tokens for each item, as labels and spans are: (items, 2)."""
    if (split.sizes != 2).any():
        raise InputError(f"{split.path} has items of other lengths than two tokens; {AGAIN}")
    return split.tokens.reshape(-1, 2)


def _occurrences(labels: Sequence[str], tokens: np.ndarray) -> dict[str, int]:
    """How often each label is among the tokens, whose special symbols stand for none."""
    classes = np.asarray(tokens, np.int64) - len(SPECIAL_SYMBOLS)
    counts = np.bincount(classes[classes >= 0], minlength=len(labels)).tolist()
    return dict(zip(labels, counts, strict=False))


def _counts(parts: Sequence[Split], unknown: float | None = None) -> dict[str, object]:
    """Tokens, </s> included; the share of <unk> among the others; tokens of the longest item."""
    return {
        "tokens": sum(len(part.tokens) for part in parts),
        "unknown_share": _unknown_share(parts) if unknown is None else unknown,
        "longest": max(int(part.sizes.max(initial=0)) for part in parts),
    }


def _unknown_share(parts: Sequence[Split]) -> float:
    unknown = pieces = 0
    total = sum(part.tokens.nbytes for part in parts)
    with Progress("counting unknown tokens", total) as progress:
        for part in parts:
            for start in range(0, len(part.tokens), CHUNK):
                chunk = part.tokens[start : start + CHUNK]
                unknown += int((chunk == UNK).sum())
                pieces += int((chunk != EOS).sum())
                progress.update(chunk.nbytes)
    return round(unknown / max(pieces, 1), 8)


def _vocabulary(dictionary: Path, files: Mapping[str, str | None] | None = None) -> Fact:
    """The symbols of a dict.txt, with <mask>, as a masked language model has it."""
    symbols = read_symbols(dictionary)
    return vocabulary_fact(len(symbols), fingerprint(symbols), symbols, files or {})


def _files(folder: Path) -> Fact:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Fact("files", size, format_bytes(size))
