"""Labelled examples to the data that fairseq's task `sentence_prediction` reads."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..kinds.examples import Column, Example, read_examples
from ..kinds.truncation import kept_lengths
from ..vocabulary.tokenizers import (
    EOS,
    MASK_SYMBOL,
    SPECIAL_SYMBOLS,
    Vocabulary,
    write_dictionary,
)
from .indexed import IndexedDatasetWriter, check_folder_name, token_type

logger = logging.getLogger(__name__)

_BATCH = 1000  # examples
PREPARED = FolderForm(
    "data of prepare-classification",
    ("label/dict.txt", "input0/dict.txt"),
    (
        "input1/dict.txt",
        *(
            f"{folder}/{split}.{end}"
            for folder in ("input0", "input1", "label")
            for split in ("train", "valid", "test")
            for end in ("bin", "idx")
        ),
    ),
)
SPECIAL_TOKENS = 2  # of each text: <s> or the separator before it, </s> after it


def prepare_classification(
    train: str | Path,
    valid: str | Path,
    sentencepiece_model: str | Path,
    dictionary: str | Path,
    output: str | Path,
    test: str | Path | None = None,
    text_columns: Sequence[Column] = (1,),
    label_column: Column = 2,
    labels: Sequence[str] | None = None,
    max_length: int | None = None,
) -> None:
    """Write `input0`, `input1` (for sentence pairs) and `label` below the folder `output`.

    The binary data are what fairseq-preprocess makes of the same texts: one item per example, ended
    by </s>; the class of a label is its place in label/dict.txt. A former output is replaced.

    Args:
        train, valid, test: TSV or JSON Lines, see `read_examples`.
        sentencepiece_model, dictionary: the vocabulary of the model to fine-tune.
        text_columns: one column for single sentences, two for pairs.
        labels: all labels in the order of their classes (default: those of `train`, sorted).
        max_length: tokens of an example with its special ones; longer texts are cut as `evaluate` and
            `predict` cut them (`kept_lengths`). None: nothing is cut.

    Raises:
        InputError: a bad file or column, a label that is empty or not among the labels, a `max_length`
            without room for a text, or an `output` that holds something else.
    """
    output = Path(output)
    check_folder_name(output)
    if max_length is not None and max_length <= SPECIAL_TOKENS * len(text_columns):
        raise InputError(
            f"--max-length {max_length} leaves no room for a text: give the number of positions of "
            "the model to fine-tune."
        )
    if len(text_columns) not in (1, 2):
        raise InputError(
            f"{len(text_columns)} text columns are given; give one for sentences, two for pairs."
        )
    check_folder(output, PREPARED, train, valid, test, sentencepiece_model, dictionary)
    vocabulary = Vocabulary(sentencepiece_model, dictionary)
    columns = (text_columns, label_column)
    if labels is None:
        labels = sorted({example.label for example in read_examples(train, *columns)})
    check_labels(labels, train)
    files = {"train": train, "valid": valid} | ({} if test is None else {"test": test})
    with atomic_folder(output, PREPARED) as folder:
        label_counts: dict[str, Counter[str]] = {}
        for split, path in files.items():
            counts, longest, cut = _write_split(
                folder, split, path, columns, vocabulary, labels, max_length
            )
            cut_there = f"; {cut:,} were cut there" if cut else ""
            print(
                f"{split}: {counts.total():,} examples, the longest has {longest} tokens{cut_there}"
            )
            label_counts[split] = counts
        for number in range(len(text_columns)):
            (folder / f"input{number}" / "dict.txt").write_bytes(Path(dictionary).read_bytes())
        write_dictionary(
            folder / "label" / "dict.txt",
            labels,
            [label_counts["train"][label] for label in labels],
        )
    for label in labels:
        if label_counts["train"][label] and not label_counts["valid"][label]:
            logger.warning(
                "the label %s has %d training examples and none in %s: is it misspelt?",
                label, label_counts["train"][label], valid,
            )  # fmt: skip
    print(f"labels: {', '.join(labels)} (--num-classes {len(labels)})")
    print(f"data for fairseq-train --task sentence_prediction: {output.resolve()}", flush=True)


def check_labels(labels: Sequence[str], train: str | Path) -> None:
    """Refuse labels of the training data that a dict.txt cannot hold with an `InputError`."""
    for label in labels:
        is_special = label in SPECIAL_SYMBOLS or label == MASK_SYMBOL
        if not label or is_special or "\n" in label or "\r" in label:
            raise InputError(
                f"{label!r} cannot be a label ({train}): it is empty or a special symbol of "
                "fairseq; choose another label column or fix the file."
            )
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError(
            f"The labels are {', '.join(labels)} ({train}); at least two different ones are needed."
        )


def _write_split(
    folder: Path,
    split: str,
    path: str | Path,
    columns: tuple[Sequence[Column], Column],
    vocabulary: Vocabulary,
    labels: Sequence[str],
    max_length: int | None,
) -> tuple[Counter[str], int, int]:
    """Write one split. Returns the counts of its labels, the length of its longest example in tokens,
    with <s>, </s> and the separator that sentence_prediction adds, and how many examples were cut."""
    keys = [f"input{number}" for number in range(len(columns[0]))]
    # fairseq's dictionaries begin with four special symbols; the task subtracts them again.
    label_ids = {label: index + len(SPECIAL_SYMBOLS) for index, label in enumerate(labels)}
    counts: Counter[str] = Counter()
    longest = cut = 0
    for key in (*keys, "label"):
        (folder / key).mkdir(exist_ok=True)
    with ExitStack() as stack:

        def writer(key: str, symbols: int) -> IndexedDatasetWriter:
            prefix = folder / key / split
            return stack.enter_context(IndexedDatasetWriter(prefix, token_type(symbols)))

        input_writers = [writer(key, len(vocabulary)) for key in keys]
        label_writer = writer("label", len(SPECIAL_SYMBOLS) + len(labels))
        for batch in _batches(read_examples(path, *columns)):
            for example in batch:
                if example.label not in label_ids:
                    raise InputError(
                        f"{path}, line {example.line}: the label {example.label!r} is not among "
                        f"{', '.join(labels)}; fix this line, or name all labels with --labels."
                    )
                counts[example.label] += 1
            encoded = [
                vocabulary.encode_batch(texts)
                for texts in zip(*(e.texts for e in batch), strict=True)
            ]
            special = SPECIAL_TOKENS * len(keys)
            sizes = np.array([[len(ids) for ids in one] for one in encoded])  # texts x examples
            if max_length is not None:
                kept = [kept_lengths(row, max_length - special) for row in sizes.T.tolist()]
                cut += int((sizes.sum(0) > np.sum(kept, axis=1)).sum())
                sizes = np.array(kept).T
            for one, lengths, input_writer in zip(encoded, sizes, input_writers, strict=True):
                ids = np.concatenate([row[:size] for row, size in zip(one, lengths, strict=True)])
                input_writer.write(np.insert(ids, np.cumsum(lengths), EOS), lengths + 1)
            longest = max(longest, int(sizes.sum(0).max()) + special)
            ids = np.array([label_ids[example.label] for example in batch])
            pairs = np.stack([ids, np.full_like(ids, EOS)], axis=1)
            label_writer.write(pairs.ravel(), np.full_like(ids, 2))
    return counts, longest, cut


def _batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    while batch := list(islice(examples, _BATCH)):
        yield batch
