"""Windows: what a model reads at once of a question and its context, and where its tokens stand.

A window has the form in which RoBERTa reads pairs of texts (Liu et al. 2019, arXiv 1907.11692, section
4.1):

    <s> question </s> </s> part of the context </s>

or, with a single separator, that of BERT (Devlin et al. 2019, arXiv 1810.04805, section 3). A context
that is too long for one window is read in several, each beginning `stride` tokens after the last (the
same, in their code for SQuAD).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..vocabulary.tokenizers import BOS, EOS, Vocabulary
from .window_options import NO_ANSWER, WindowOptions


@dataclass(frozen=True)
class AlignedText:
    """The tokens of a text, and which of its characters each stands for.

    Attributes:
        text: as it was given.
        ids: of fairseq, (tokens,).
        begins, ends: (tokens,), of the characters in `text`, the end excluded. Both ascend. A space
            belongs to the token that it is in, mostly the word after it. Where a character becomes
            several tokens, only the last has an end after its begin.
    """

    text: str
    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    def span(self, begin: int, end: int) -> tuple[int, int] | None:
        """First and last token of the shortest span that covers the characters from begin to end.

        None if SentencePiece keeps nothing of these characters.
        """
        first = np.searchsorted(self.ends, begin, side="right")
        last = np.searchsorted(self.begins, end) - 1
        if first > last:
            return None
        # the tokens before, if they stand for the same character
        return int(np.searchsorted(self.begins, self.begins[first])), int(last)

    def text_of(self, span: tuple[int, int]) -> str:
        """The text from the first token of a span to its last, without the space around it."""
        first, last = span
        return self.text[self.begins[first] : self.ends[last]].strip()


class AligningVocabulary(Vocabulary):
    """A vocabulary that says where in a text its tokens stand."""

    def align(self, text: str) -> AlignedText:
        """The tokens that `encode` gives, with their characters, through SentencePiece's NFKC."""
        encoded = self._model.encode(text, return_type="offset_mapping")
        offsets = np.array(encoded["offsets"], np.int64).reshape(-1, 2)
        ids = self._to_fairseq[np.array(encoded["ids"], np.int64)]
        return AlignedText(text, ids, offsets[:, 0], offsets[:, 1])


@dataclass(frozen=True)
class Window:
    """One window.

    Attributes:
        tokens: ids, (length,).
        first: which token of the context is its first.
        offset: where in the window that one stands; the context ends before the last </s>.
    """

    tokens: np.ndarray
    first: int
    offset: int

    @property
    def context_tokens(self) -> int:
        return len(self.tokens) - 1 - self.offset

    def position(self, span: tuple[int, int]) -> tuple[int, int]:
        """Where a span of the context's tokens stands in the window; `NO_ANSWER` if not whole."""
        start, end = span
        if start < self.first or end >= self.first + self.context_tokens:
            return NO_ANSWER
        return start - self.first + self.offset, end - self.first + self.offset


def make_windows(
    question: np.ndarray, context: np.ndarray, options: WindowOptions
) -> Iterator[Window]:
    """Yield windows that cover the whole context, at least one. Both arguments are ids."""
    between = [EOS] * options.separators
    before = np.concatenate([[BOS], question[: options.max_question], between])
    room = options.max_length - len(before) - 1
    first = 0
    while True:
        part = context[first : first + room]
        yield Window(np.concatenate([before, part, [EOS]]).astype(np.int64), first, len(before))
        if first + room >= len(context):
            return
        first += min(options.stride, room)
