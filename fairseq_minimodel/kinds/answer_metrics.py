"""Exact match and F1 of answers, as the official scripts of SQuAD v1.1 and MLQA compute them.

SQuAD's rules (Rajpurkar et al. 2016, `evaluate-v1.1.py`) know English articles and ASCII punctuation
and are used for XQuAD and TyDiQA-GoldP in every language, too: so does XTREME (Hu et al. 2020). MLQA
(Lewis et al. 2020, `mlqa_evaluation_v1.py`) has rules for each of its languages.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from ..errors import InputError

Normalise = Callable[[str], str]

METRICS = ("squad", "mlqa")

_WORDS = {  # articles, and in Vietnamese what MLQA takes for them
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "vi": "của là cái chiếc những",
    "de": "ein eine einen einem eines einer der die das den dem des",
}
_MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")
_CHINESE = re.compile("([\u4e00-\u9fa5])")


def normaliser(metric: str, language: str) -> Normalise:
    """How answers in a language ("de") are made comparable under a metric, "squad" or "mlqa".

    Raises:
        InputError: there is no such metric, or it has no rules for the language.
    """
    if metric == "squad":
        return normalise_squad
    if metric != "mlqa":
        raise InputError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    if language not in _MLQA_LANGUAGES:
        raise InputError(
            f"the metric mlqa has no rules for the language {language!r}, only for "
            f"{', '.join(_MLQA_LANGUAGES)}; the metric squad takes any"
        )
    return lambda text: normalise_mlqa(text, language)


def normalise_squad(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous space."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_without_words(text, "en").split())


def normalise_mlqa(text: str, language: str) -> str:
    """Lower case, without any punctuation, the language's articles and superfluous space.

    In Chinese each character becomes a word; what is written in other scripts keeps its spaces.
    """
    text = "".join(character for character in text.lower() if not _is_punctuation(character))
    if language == "ar":
        # The script means the article at the beginning of a word, but removes it wherever it is.
        text = text.replace("ال", " ")
    elif language == "zh":
        text = _CHINESE.sub(r" \1 ", text)
    return " ".join(_without_words(text, language).split())


def exact_match(prediction: str, answers: Sequence[str], normalise: Normalise) -> bool:
    """Whether the prediction equals one of the answers."""
    return normalise(prediction) in map(normalise, answers)


def f1(prediction: str, answers: Sequence[str], normalise: Normalise) -> float:
    """F1 of the prediction's words and those of the answer that it is most like, 0 to 1.

    Words are counted as often as they occur. Without a common word it is 0, even if there are no
    words on either side.
    """
    return max(_f1(normalise(prediction).split(), normalise(a).split()) for a in answers)


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    common = (Counter(prediction) & Counter(answer)).total()
    return 2 * common / (len(prediction) + len(answer)) if common else 0.0


def _without_words(text: str, language: str) -> str:
    words = _WORDS.get(language)
    return re.sub(rf"\b({'|'.join(words.split())})\b", " ", text) if words else text


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")
