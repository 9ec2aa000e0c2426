"""Vocabulary: a tokenizer and fairseq's dict.txt, whose ids are never assumed equal.

The tokenizer is a SentencePiece model or, of models that were imported from Hugging Face with
another one, a tokenizer.json.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import sentencepiece

from ..errors import InputError
from .fast_tokenizer import FastTokenizer

SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's ids 0 to 3, never in dict.txt
BOS, PAD, EOS, UNK = range(4)
# How the file of a tokenizer is called: fairseq's name for one, Hugging Face's for the other.
SENTENCEPIECE_FILE, FAST_TOKENIZER_FILE = "sentencepiece.bpe.model", "tokenizer.json"
TOKENIZER_FILES = (SENTENCEPIECE_FILE, FAST_TOKENIZER_FILE)
OVERWRITE = " #fairseq:overwrite"  # behind the count of a symbol that dict.txt may have twice
_COUNT = re.compile(r"\d{1,18}", re.ASCII)
MASK_SYMBOL = "<mask>"  # fairseq's masked LM tasks add it behind the dictionary's last line
FILLER = "madeupword"  # fairseq's, where a dictionary is filled up to a multiple
MOST_ADDED = 10  # symbols that are not pieces, in a small vocabulary


class Vocabulary:
    """Text to fairseq ids and back.

    fairseq's ids are 0 to 3 for `SPECIAL_SYMBOLS`, then one for each line of dict.txt. A piece of the
    tokenizer that is not in dict.txt becomes <unk>.

    Args:
        model: a SentencePiece model; or a tokenizer.json, known by the end of its name.

    Raises:
        InputError: a file is missing or is not what it should be.
    """

    def __init__(self, model: str | Path, dictionary: str | Path) -> None:
        self._model = load_tokenizer(model)
        self.symbols = (*SPECIAL_SYMBOLS, *read_dictionary(dictionary))
        ids = {symbol: index for index, symbol in enumerate(self.symbols)}
        pieces = list(dictionary_pieces(self._model))
        # (SentencePiece pieces,): the fairseq id of each; and (fairseq ids,) back, -1 for no piece.
        self._to_fairseq = np.full(len(self._model), UNK, np.int64)
        self._to_sentencepiece = np.full(len(self.symbols), -1, np.int64)
        for piece, index in pieces:
            self._to_fairseq[index] = ids.get(piece, UNK)
            if piece in ids:
                self._to_sentencepiece[ids[piece]] = index
        self._to_sentencepiece[UNK] = self._model.unk_id()
        own = {piece for piece, _ in pieces} | {MASK_SYMBOL}
        foreign = [
            symbol
            for symbol in self.symbols[len(SPECIAL_SYMBOLS) :]
            if symbol not in own and not symbol.startswith(FILLER)
        ]
        # symbols that were added to a vocabulary may be no pieces; those of another are many
        if len(foreign) > max(MOST_ADDED, len(self.symbols) // 100) or own.isdisjoint(ids):
            reason = "none of its pieces is among the symbols"
            if foreign:
                reason = (
                    f"{len(foreign):,} of {len(self.symbols):,} symbols, {foreign[0]!r} among them, "
                    "are not pieces of this tokenizer"
                )
            raise InputError(
                f"{model} and {dictionary} do not belong together: {reason}; give the dict.txt that "
                "was made with it."
            )

    def __len__(self) -> int:
        """Number of symbols: the four special ones and the lines of dict.txt (without <mask>)."""
        return len(self.symbols)

    def encode(self, text: str) -> np.ndarray:
        """Ids (tokens,) int64 of `text`, without <s> and </s>."""
        return self.encode_flat([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids (tokens,) of each text, without <s> and </s>."""
        ids, sizes = self.encode_flat(texts)
        return np.split(ids, np.cumsum(sizes)[:-1])

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts in one array (sum of sizes,), and the sizes (texts,)."""
        encoded = self._model.encode(list(texts), num_threads=1)
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        flat = np.fromiter(chain.from_iterable(encoded), np.int64, int(sizes.sum()))
        return self._to_fairseq[flat], sizes

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of fairseq ids; <s>, <pad>, </s>, <mask> and symbols without a piece are left out."""
        ids = np.asarray(ids, np.int64)
        pieces = self._to_sentencepiece[ids[ids < len(self.symbols)]]
        return self._model.decode(pieces[pieces >= 0].tolist())


def tokenizer_file(path: str | Path) -> str:
    """The name that a copy of a tokenizer gets, by what kind it is."""
    return FAST_TOKENIZER_FILE if Path(path).suffix == ".json" else SENTENCEPIECE_FILE


def load_tokenizer(path: str | Path) -> sentencepiece.SentencePieceProcessor | FastTokenizer:
    """Load a tokenizer of either kind. Raises InputError if the file is missing or damaged."""
    fast = tokenizer_file(path) == FAST_TOKENIZER_FILE
    special = (*SPECIAL_SYMBOLS, MASK_SYMBOL)
    return FastTokenizer(path, special) if fast else load_sentencepiece(path)


def folds_case(tokenizer: sentencepiece.SentencePieceProcessor | FastTokenizer) -> bool:
    """Whether capitals and small letters are the same to a tokenizer."""
    return tokenizer.normalize("A") == tokenizer.normalize("a")


def load_sentencepiece(path: str | Path) -> sentencepiece.SentencePieceProcessor:
    """Load a SentencePiece model. Raises InputError if the file is missing or damaged."""
    try:
        model = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read the SentencePiece model {path}: {error.strerror}.") from None
    try:
        processor = sentencepiece.SentencePieceProcessor()
        # of an empty file it says on stderr that it is not initialised
        if not model or not processor.LoadFromSerializedProto(model) or len(processor) == 0:
            raise RuntimeError
    except RuntimeError:
        raise InputError(
            f"{path} is not a SentencePiece model, or is damaged; give the .model file that "
            "SentencePiece wrote."
        ) from None
    return processor


def dictionary_pieces(
    model: sentencepiece.SentencePieceProcessor | FastTokenizer,
) -> Iterable[tuple[str, int]]:
    """(piece, the tokenizer's id) of each piece that belongs into dict.txt, in the model's order.

    Control, unknown and unused pieces do not, nor does a piece spelled as a special symbol of
    fairseq: fairseq has those itself.
    """
    for index in range(len(model)):
        piece = model.id_to_piece(index)
        skip = model.is_control(index) or model.is_unknown(index) or model.is_unused(index)
        if not skip and piece not in SPECIAL_SYMBOLS and piece != MASK_SYMBOL:
            yield piece, index


def read_dictionary(path: str | Path) -> list[str]:
    """The symbols of a dict.txt, without the special ones that fairseq adds before them.

    Raises InputError as `read_counts` does.
    """
    return [symbol for symbol, _ in read_counts(path)]


def read_counts(path: str | Path) -> list[tuple[str, int]]:
    """The symbols of a dict.txt with their counts, in the order of the lines.

    A line is `SYMBOL COUNT`, or `SYMBOL COUNT #fairseq:overwrite`: such a symbol may be one that is
    there already, even a special one. It then stands for the later row, and the row of the former
    remains (fairseq/data/dictionary.py, `add_from_file`; CamemBERT's dict.txt begins with three).

    Raises:
        InputError: the file is missing, is not UTF-8, has a malformed line or repeats a symbol.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.rstrip() for line in file]
    except OSError as error:
        raise InputError(f"Cannot read the dictionary {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"The dictionary {path} is not UTF-8; make it again.") from None
    entries, seen = [], set(SPECIAL_SYMBOLS)
    for number, line in enumerate(lines, start=1):
        symbol, space, count = line.removesuffix(OVERWRITE).rpartition(" ")
        if not (space and _COUNT.fullmatch(count)):
            raise InputError(
                f"{path}, line {number}: {ascii(line[:60])} is not a symbol, a space and a count; "
                "give a dict.txt of fairseq."
            )
        if symbol in seen and not line.endswith(OVERWRITE):
            raise InputError(
                f"{path}, line {number}: the symbol {symbol!r} is there twice (fairseq adds "
                f"{', '.join(SPECIAL_SYMBOLS)} itself); remove this line, or write "
                f"{OVERWRITE.strip()} behind its count if the model has a row for it."
            )
        seen.add(symbol)
        entries.append((symbol, int(count)))
    return entries


def write_dictionary(path: str | Path, symbols: Iterable[str], counts: Iterable[int]) -> None:
    """Write a dict.txt: lines of `SYMBOL COUNT`, with fairseq's flag where the symbol is there."""
    seen = set(SPECIAL_SYMBOLS)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for symbol, count in zip(symbols, counts, strict=True):
            file.write(f"{symbol} {count}{OVERWRITE if symbol in seen else ''}\n")
            seen.add(symbol)
