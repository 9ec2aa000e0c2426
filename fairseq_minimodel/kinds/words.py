"""Words as the tokens that a model reads, and long sentences in windows that cut no word."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..vocabulary.tokenizers import BOS, EOS
from .tagged import running_text
from .windows import AligningVocabulary

FRAME = 2  # special tokens of a window: <s> before, </s> after
NO_PIECE = -1
# A word of plain text: what stands between blanks, and each punctuation mark at its ends by itself.
_BETWEEN_BLANKS = re.compile(r"\S+")
_MARK = re.compile(r"[^\w\s]|_")


@dataclass(frozen=True)
class WordTokens:
    """The tokens of a sentence, and where its words begin among them.

    Attributes:
        ids: (tokens,), without <s> and </s>.
        firsts: (words,), the place of each word's first token; `NO_PIECE` of a word that has none.
    """

    ids: np.ndarray
    firsts: np.ndarray


@dataclass(frozen=True)
class WordWindow:
    """A part of a sentence that a model reads at once, and the words that it is asked about.

    Attributes:
        ids: (tokens,), <s> and </s> included.
        words: numbers of the words in the sentence.
        firsts: where in `ids` each of them begins.
    """

    ids: np.ndarray
    words: np.ndarray
    firsts: np.ndarray


def encode_words(
    words: Sequence[str], blanks: Sequence[bool], vocabulary: AligningVocabulary
) -> WordTokens:
    """Words as the tokens of the running text that they make.

    Where a token would reach over the end of a word ("don't", whose words are "do" and "n't"), the
    words that no blank parts are encoded each by itself, as if a blank stood before it: so every word
    has a first token of its own (Devlin et al. 2019, section 5.3), unless nothing of it is left by the
    vocabulary's normalisation.

    Args:
        blanks: whether a blank stands before each word.
    """
    text, begins = running_text(words, blanks)
    aligned = vocabulary.align(text)
    ends = [begin + len(word) for begin, word in zip(begins, words, strict=True)]
    spans = [aligned.span(*place) for place in zip(begins, ends, strict=True)]
    ids, firsts, size, taken, before = [], [], 0, 0, 0
    for run in _runs(blanks):
        own = [spans[number] for number in run]
        found = [span for span in own if span]
        last = found[-1][1] if found else taken - 1
        if _are_apart(found) and (
            not found
            or aligned.begins[found[0][0]] >= before
            and aligned.ends[last] <= ends[run[-1]]
        ):
            parts = [aligned.ids[taken : last + 1]]
            firsts += [NO_PIECE if span is None else size + span[0] - taken for span in own]
        else:
            apart = [vocabulary.align(words[number]) for number in run]
            parts, place = [one.ids for one in apart], size
            for one in apart:
                span = one.span(0, len(one.text))
                firsts.append(NO_PIECE if span is None else place + span[0])
                place += len(one.ids)
        ids += parts
        size, taken, before = size + sum(map(len, parts)), max(taken, last + 1), ends[run[-1]]
    whole = np.concatenate(ids) if ids else np.empty(0)
    return WordTokens(whole.astype(np.int64), np.array(firsts, np.int64))


def _are_apart(spans: Sequence[tuple[int, int]]) -> bool:
    """Whether no token is in two of the spans."""
    return all(left[1] < right[0] for left, right in zip(spans, spans[1:], strict=False))


def _runs(blanks: Sequence[bool]) -> Iterator[range]:
    """Numbers of words that stand together without a blank."""
    begin = 0
    for number in range(1, len(blanks) + 1):
        if number == len(blanks) or blanks[number]:
            yield range(begin, number)
            begin = number


def words_of_text(text: str) -> list[tuple[int, int]]:
    """Where the words of plain text begin and end, in characters."""
    places = []
    for match in _BETWEEN_BLANKS.finditer(text):
        begin, end = match.span()
        first, last = begin, end
        while first < end and _MARK.match(text[first]):
            first += 1
        while last > first and _MARK.match(text[last - 1]):
            last -= 1
        places += [(one, one + 1) for one in range(begin, first)]
        places += [(first, last)] if first < last else []
        places += [(one, one + 1) for one in range(last, end)]
    return places


def encode_text(
    text: str, places: Sequence[tuple[int, int]], vocabulary: AligningVocabulary
) -> WordTokens:
    """Plain text as its tokens; a word begins with the one that its first character belongs to.

    Args:
        places: see `words_of_text`.
    """
    aligned = vocabulary.align(text)
    spans = [aligned.span(*place) for place in places]
    firsts = [NO_PIECE if span is None else span[0] for span in spans]
    return WordTokens(aligned.ids, np.array(firsts, np.int64))


def word_windows(tokens: WordTokens, longest: int) -> list[WordWindow]:
    """Windows that have each word with a token once, and cut none.

    A sentence that is too long for one is read in several, which overlap by up to half: each word is
    asked about where it is farther from the end of a window. Only a word that alone is too long for a
    window is cut, at its end.

    Args:
        longest: tokens of a window, <s> and </s> included.
    """
    words = np.flatnonzero(tokens.firsts != NO_PIECE)
    firsts, room = tokens.firsts[words], longest - FRAME
    begins = np.concatenate([firsts, [len(tokens.ids)]])  # two words of plain text may share one
    if len(tokens.ids) <= room:
        begins[0] = 0  # tokens that stand for nothing may come before the first word
    windows, first, asked = [], 0, 0
    while asked < len(words):
        last = int(np.searchsorted(begins, begins[first] + room, side="right")) - 1
        last = max(last, first + 1)  # one word too long for a window
        following = asked_to = len(words)
        if last < len(words):
            half = int(np.searchsorted(begins, begins[last] - room // 2))
            following = last if half >= last else max(half, first + 1)
            asked_to = max((following + last + 1) // 2, asked + 1)
        part = tokens.ids[begins[first] : begins[last]][:room]
        own = slice(asked, min(asked_to, last))
        windows.append(
            WordWindow(
                np.concatenate([[BOS], part, [EOS]]).astype(np.int64),
                words[own],
                firsts[own] - begins[first] + 1,
            )
        )
        first, asked = following, own.stop
    return windows
