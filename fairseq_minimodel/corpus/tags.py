"""Tagged sentences to windows of tokens: the data of the task `tagging`."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..kinds import LABELS
from ..kinds.tagged import Sentence, read_tagged_file
from ..kinds.window_options import TAG_CLASSES, WINDOWS
from ..kinds.windows import AligningVocabulary
from ..kinds.words import FRAME, NO_PIECE, encode_words, word_windows
from ..terminal.progress import SHORT, Progress
from ..vocabulary.tokenizers import PAD, SPECIAL_SYMBOLS, write_dictionary
from .classification import check_labels
from .indexed import IndexedDatasetWriter, check_folder_name, token_type

PREPARED = FolderForm(
    "data of prepare-tags",
    ("dict.txt", LABELS),
    [
        f"{folder}/{split}.{end}"
        for folder in (WINDOWS, TAG_CLASSES)
        for split in ("train", "valid")
        for end in ("bin", "idx")
    ],
    lambda folder: (folder / WINDOWS).is_dir() and (folder / TAG_CLASSES).is_dir(),
)


def prepare_tags(
    train: str | Path,
    valid: str | Path,
    sentencepiece_model: str | Path,
    dictionary: str | Path,
    output: str | Path,
    labels: Sequence[str] | None = None,
    max_length: int = 512,
) -> None:
    """Write the folders `windows` and `tags`, dict.txt and label/dict.txt below the folder `output`.

    A former output is replaced.

    Args:
        train, valid: see `read_tagged_file`.
        sentencepiece_model, dictionary: the vocabulary of the model to fine-tune.
        labels: all tags in the order of their classes (default: those of `train`, sorted).
        max_length: tokens of a window, <s> and </s> included.

    Raises:
        InputError: a bad file or option, a tag that is not among the labels, or an `output` that holds
            something else.
    """
    output = Path(output)
    check_folder(output, PREPARED, train, valid, sentencepiece_model, dictionary)
    check_folder_name(output)
    if max_length <= FRAME:
        raise InputError(f"--max-length {max_length} leaves no room for a word: give more.")
    vocabulary = AligningVocabulary(sentencepiece_model, dictionary)
    splits = {"train": (train, read_tagged_file(train)), "valid": (valid, read_tagged_file(valid))}
    counts = Counter(tag for sentence in splits["train"][1] for tag in sentence.tags)
    labels = sorted(counts) if labels is None else labels
    check_labels(labels, train)
    for path, sentences in splits.values():
        _check_tags(path, sentences, labels)
    with atomic_folder(output, PREPARED) as folder:
        for name in (WINDOWS, TAG_CLASSES, Path(LABELS).parent):
            (folder / name).mkdir()
        for split, (path, sentences) in splits.items():
            held = _write_split(folder, split, sentences, vocabulary, labels, max_length)
            print(f"{split} ({path}): {held}")
        (folder / "dict.txt").write_bytes(Path(dictionary).read_bytes())
        write_dictionary(folder / LABELS, labels, [counts[label] for label in labels])
    print(f"tags: {', '.join(labels)}")
    print(f"data for fairseq-train --task tagging: {output.resolve()}", flush=True)


def _check_tags(path: str | Path, sentences: Sequence[Sentence], labels: Sequence[str]) -> None:
    known = set(labels)
    for sentence in sentences:
        if wrong := [tag for tag in sentence.tags if tag not in known]:
            raise InputError(
                f"{path}, line {sentence.line}: the tag {wrong[0]!r} is not among "
                f"{', '.join(labels)}; fix this sentence, or name all tags with --labels."
            )


def _write_split(
    folder: Path,
    split: str,
    sentences: Sequence[Sentence],
    vocabulary: AligningVocabulary,
    labels: Sequence[str],
    max_length: int,
) -> str:
    """Write one split. Returns what it holds, in words."""
    classes = {label: number for number, label in enumerate(labels, len(SPECIAL_SYMBOLS))}
    counts: Counter[str] = Counter()
    longest = 0
    with ExitStack() as stack:

        def writer(name: str, values: int) -> IndexedDatasetWriter:
            prefix = folder / name / split
            return stack.enter_context(IndexedDatasetWriter(prefix, token_type(values)))

        windows_writer = writer(WINDOWS, len(vocabulary))
        tags_writer = writer(TAG_CLASSES, len(SPECIAL_SYMBOLS) + len(labels))
        progress = stack.enter_context(Progress(split, len(sentences), "sentence", after=SHORT))
        for sentence in sentences:
            progress.update(1)
            tokens = encode_words(sentence.words, sentence.blanks, vocabulary)
            windows = word_windows(tokens, max_length)
            ids = np.array([classes[tag] for tag in sentence.tags])
            for window in windows:
                target = np.full(len(window.ids), PAD)
                target[window.firsts] = ids[window.words]
                size = np.array([len(target)])
                windows_writer.write(window.ids, size)
                tags_writer.write(target, size)
                longest = max(longest, len(target))
            counts.update(
                windows=len(windows),
                words=len(ids),
                lost=int((tokens.firsts == NO_PIECE).sum()),
            )
    if not counts["windows"]:
        raise InputError(
            f"the tokenizer keeps no word of --{split}; give the model of its language."
        )
    return (
        f"{len(sentences):,} sentences, {counts['words']:,} words, in {counts['windows']:,} windows of "
        f"up to {longest} tokens; {counts['lost']:,} words have no token and are left out"
    )
