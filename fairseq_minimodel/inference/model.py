"""A body with the languages of packs, to be asked from Python: `fairseq_minimodel.load`."""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from ..bodies.checkpoint import Checkpoint, find_training_file, read_checkpoint, symbols_of
from ..corpus.benchmarks.table import CLASSIFICATION, SPAN
from ..corpus.questions import AligningVocabulary
from ..errors import InputError
from ..evaluation.answer import (
    N_BEST,
    FoundAnswer,
    answer_spans,
    best_answers,
    check_windows,
    count_cut,
    windows_of,
)
from ..evaluation.classify import Classifier, class_logits, token_sequences
from ..evaluation.retrieval import checked_layer, sentence_vectors
from ..evaluation.zero_shot import KINDS
from ..kinds.window_options import MAX_ANSWER
from ..models.minimodel_roberta import MiniModelRoberta
from ..modules.registry import find_method
from ..packs.module import load_module, plug_module
from ..packs.pack import DICTIONARY, LanguagePack, load_pack
from ..packs.plug import plug
from ..packs.trained_language import unfit_packs
from ..vocabulary.tokenizers import BOS, EOS, MASK_SYMBOL, TOKENIZER_FILES
from .batches import in_batches
from .build import build_model, in_another_language, ready_device

logger = logging.getLogger(__name__)

MASKED = "masked"
# What a body was trained for, in words, and the method to ask it by.
TASKS = {
    CLASSIFICATION: ("was fine-tuned to classify", "predict"),
    SPAN: ("was fine-tuned to answer questions", "answer"),
    MASKED: ("was pretrained by masked language modelling", "fill_mask"),
}
SOURCE = "source"  # name of the language inside a body
# Tokens a batch. What 1,024 tokens of hidden states take stays in the cache of a processor.
MAX_TOKENS_CPU, MAX_TOKENS = 1024, 8192
MOST_LOGITS = 1 << 25  # computed at a time; a vocabulary may have 250,000 symbols

Languages = str | Path | Sequence[str | Path] | Mapping[str, str | Path]


class Token(NamedTuple):
    """A token, as its dictionary spells it, and its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable label, its probability, and those of all labels in the order of the task.

    `cut` is how many tokens of the text, or of the pair, were left out because it is longer than the
    body has positions.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    cut: int = 0


@dataclass(frozen=True)
class _Inside:
    """The language inside a body; the attributes are those of a `LanguagePack`."""

    symbols: Sequence[str]
    tokenizer: Path
    dictionary: Path


@dataclass(frozen=True)
class _Language:
    """A language that is plugged in."""

    symbols: Sequence[str]
    vocabulary: AligningVocabulary
    model: MiniModelRoberta


class TextError(InputError):
    """One of several texts is bad.

    Attributes:
        index: which one, from 0.
        reason: what is wrong with it, and the way out.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"text {index} (from 0) {reason}")
        self.index, self.reason = index, reason


def load(
    body: str | Path,
    languages: Languages | None = None,
    module: str | Path | None = None,
    labels: str | Path | None = None,
    device: str | None = None,
    bfloat16: bool = False,
    max_tokens: int | None = None,
) -> "LanguageModel":
    """Read a body with one language or several, to predict with.

    On a CPU the settings of the whole process are changed, see `nn/cpu.py`.

    Args:
        body: checkpoint, pretrained or fine-tuned.
        languages: a language pack, several, or packs by names of your choice; the first one is
            current. Without such names, a pack goes by its language. None: the language inside the
            body, by the name "source"; its dictionary and tokenizer are looked for beside the body
            and in its training data.
        module: task module that was trained over the body.
        labels: dict.txt of the labels; None: that of the module, or of the training data.
        device: of PyTorch ("cuda:1"); None: a GPU if there is one.
        bfloat16: keep all weights, and compute, in bfloat16.
        max_tokens: tokens a batch, padding included; None: 1,024 on a CPU, 8,192 elsewhere.

    Raises:
        InputError: a file is missing or damaged, the parts do not belong together, two packs have one
            name, or the device cannot be used.
    """
    device = ready_device(device)
    if max_tokens is None:
        max_tokens = MAX_TOKENS_CPU if torch.device(device).type == "cpu" else MAX_TOKENS
    checkpoint, name = read_checkpoint(body), str(body)
    spoken = {SOURCE: _inside(checkpoint)} if languages is None else _packs(languages)
    if module is not None:
        task = load_module(module)
        checkpoint, labels = plug_module(checkpoint, task)[0], labels or task.labels
        name = f"{body} with {module}"
    if languages is not None:
        unfit_packs(checkpoint, list(spoken.values()))
    return LanguageModel(name, checkpoint, spoken, labels, device, bfloat16, max_tokens)


class LanguageModel:
    """A body in memory with one language or several, which `load` reads.

    Its methods take texts in any number, compute them in batches of like length, and return results
    in the order of the texts. They may be called from several threads at once, each in a language of
    its own (`language=`); what one thread does changes nothing for another but the current language,
    which `use_language` sets for all.

    Attributes:
        task: "masked", "classification" or "span": what the body was trained for.
        languages: the names of its languages.
        language: the current one.
        classes: the labels of a classifier, in the order of the task; else None.
    """

    def __init__(
        self,
        name: str,
        checkpoint: Checkpoint,
        languages: Mapping[str, LanguagePack | _Inside],
        labels: str | Path | None,
        device: str,
        bfloat16: bool,
        max_tokens: int,
    ) -> None:
        """Arguments and errors as in `load`, which reads the files."""
        self.name, self.device, self.max_tokens = name, device, max_tokens
        self.task = KINDS.get(checkpoint.config.get("task", {}).get("_name"), MASKED)
        self.classes: list[str] | None = None
        if self.task == CLASSIFICATION:
            classifier = Classifier(name, checkpoint, labels)
            self.classes, self._head = classifier.classes, classifier.head
        self._languages = dict(_plugged(checkpoint, languages, device, bfloat16))
        self.languages = tuple(self._languages)
        self.language = self.languages[0]
        # What is known of the body; its weights are in the models.
        weightless = {name: tensor.to("meta") for name, tensor in checkpoint.state.items()}
        self._checkpoint = checkpoint.replaced(weightless)
        self._longest = checkpoint.body_settings()["max_positions"]
        # A structure (TAMS) is chosen at the beginning of each pass and kept in the model: one pass
        # at a time.
        one_by_one = find_method(checkpoint.model_config).has_structure
        self._turn = threading.Lock() if one_by_one else nullcontext()

    def use_language(self, language: str) -> None:
        """Make another language current: the one of all calls that name none.

        Raises:
            InputError: the model was loaded without it.
        """
        self._spoken(language)
        self.language = language

    def tokenize(self, texts: Sequence[str], language: str | None = None) -> list[list[str]]:
        """The tokens of each text, as the dictionary spells them, without <s> and </s>.

        Raises:
            InputError: a text is no string, or there is no such language.
        """
        spoken = self._spoken(language)
        return [
            [spoken.symbols[index] for index in ids.tolist()]
            for ids in _encoded(spoken.vocabulary, _checked(texts))
        ]

    def encode(
        self, texts: Sequence[str], layer: int | None = None, language: str | None = None
    ) -> Tensor:
        """A vector for each text: the mean hidden state of its tokens, as `retrieve` compares them.

        A text that is longer than the body has positions is cut; a warning in the log says how many
        were.

        Args:
            layer: after which the hidden states are taken, from 1; 0: the embeddings. None: the one
                above the middle.

        Returns: texts x width, float32, on the CPU.

        Raises:
            InputError: the body does not have the layer; or as in `tokenize`.
        """
        spoken, layer = self._spoken(language), checked_layer(layer, self._checkpoint)
        encoded = _encoded(spoken.vocabulary, _checked(texts))
        if not encoded:
            return torch.empty(0, self._checkpoint.body_settings()["encoder_embed_dim"])
        room = self._longest - 2  # without <s> and </s>
        sequences = [numpy.concatenate([[BOS], ids[:room], [EOS]]) for ids in encoded]
        if cut := sum(len(ids) > room for ids in encoded):
            logger.warning(
                "%d of %d texts are longer than the %d positions of %s and were cut",
                cut, len(encoded), self._longest, self.name,
            )  # fmt: skip
        with self._turn:
            vectors = sentence_vectors(
                spoken.model, sequences, layer, self.max_tokens, self.device, unit=None
            )
        return torch.from_numpy(vectors)

    def fill_mask(
        self, texts: Sequence[str], top: int = 5, language: str | None = None
    ) -> list[list[list[Token]]]:
        """The most probable tokens for each <mask> in each text, the most probable first.

        As in fairseq, what stands between masks is tokenised as a text of its own, without the space
        before a mask.

        Args:
            top: how many tokens for each mask.

        Raises:
            InputError: the body was fine-tuned, which leaves the MLM head behind; a text has no
                <mask>, or more tokens than the body has positions; `top` is less than 1 or more than
                the vocabulary; or as in `tokenize`.
        """
        self._require(MASKED)
        spoken, texts = self._spoken(language), _checked(texts)
        if not 1 <= top <= len(spoken.symbols):
            raise InputError(f"top is {top}: give 1 to {len(spoken.symbols)} tokens")
        mask = spoken.symbols.index(MASK_SYMBOL)
        sequences = list(_masked_sequences(texts, spoken.vocabulary, mask, self._longest))

        def most_probable(tokens: Tensor, _: list[int]) -> Iterable[tuple[Tensor, Tensor]]:
            masked = tokens == mask
            features = spoken.model(tokens, features_only=True)[0][masked]
            parts = [
                spoken.model.encoder.lm_head(part).float().softmax(dim=-1).topk(top)
                for part in features.split(max(1, MOST_LOGITS // len(spoken.symbols)))
            ]
            counts = masked.sum(dim=1).tolist()
            values, ids = (torch.cat(side).cpu().split(counts) for side in zip(*parts, strict=True))
            return zip(values, ids, strict=True)

        with self._turn:
            found = in_batches(sequences, self.max_tokens, self.device, most_probable, unit=None)
        return [
            [
                [Token(spoken.symbols[index], value) for value, index in zip(*rows, strict=True)]
                for rows in zip(values.tolist(), ids.tolist(), strict=True)
            ]
            for values, ids in found
        ]

    def predict(
        self, texts: Sequence[str | Sequence[str]], language: str | None = None
    ) -> list[Prediction]:
        """The label of each text, or of each pair of texts, by the body's classification head.

        Texts are fed to the model as in fine-tuning. What is longer than the body has positions is
        cut, of a pair the longer text first (`kept_lengths`); `Prediction.cut` says by how much.

        Args:
            texts: texts, or pairs of them.

        Raises:
            InputError: the body was not fine-tuned to classify; or as in `tokenize`.
        """
        self._require(CLASSIFICATION)
        spoken, examples = self._spoken(language), _checked_examples(texts)
        if not examples:
            return []
        task = self._checkpoint.config["task"]
        sequences, cut = token_sequences(examples, spoken.vocabulary, task, self._longest)
        with self._turn:
            logits = class_logits(
                spoken.model, self._head, sequences, self.max_tokens, self.device, unit=None
            )
        return [
            self._prediction(*row)
            for row in zip(torch.stack(logits).softmax(dim=-1).tolist(), cut, strict=True)
        ]

    def answer(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        top: int = 1,
        max_length: int | None = None,
        stride: int | None = None,
        max_question: int | None = None,
        max_answer: int = MAX_ANSWER,
        language: str | None = None,
    ) -> list[list[FoundAnswer]]:
        """The best answers to each question, in its context, the best first; perhaps none.

        A score is the sum of those of the answer's first and last token. A question of more than
        `max_question` tokens is cut; a warning in the log says how many were.

        Args:
            contexts: one for each question.
            top: how many answers, at most 20; of different texts or at different places.
            max_length, stride, max_question: of the windows, see `WindowOptions`. None: as the
                training data was prepared, see `windows_of`.
            max_answer: tokens of the longest answer.

        Raises:
            InputError: the body was not fine-tuned for questions or has fewer positions than a window,
                a number is out of its range, there are not as many contexts as questions; or as in
                `tokenize`.
        """
        self._require(SPAN)
        options = windows_of(self._checkpoint, max_length, stride, max_question)
        check_windows(self.name, self._checkpoint, options, max_answer)
        if not 1 <= top <= N_BEST:
            raise InputError(f"top is {top}: give 1 to {N_BEST} answers")
        spoken, questions, contexts = (
            self._spoken(language), _checked(questions), _checked(contexts)
        )  # fmt: skip
        if len(questions) != len(contexts):
            raise InputError(
                f"{len(questions)} questions and {len(contexts)} contexts: give each question its own"
            )
        pairs = list(zip(questions, contexts, strict=True))
        with self._turn:
            found = answer_spans(
                spoken.model, spoken.vocabulary, pairs, options, max_answer,
                self.max_tokens, self.device, unit=None,
            )  # fmt: skip
        if cut := count_cut(spoken.vocabulary, questions, options):
            logger.warning(
                "%d of %d questions have more than %d tokens (max_question) and were cut",
                cut, len(questions), options.max_question,
            )  # fmt: skip
        return [best_answers(context, spans, top) for context, spans in found]

    def _spoken(self, language: str | None) -> _Language:
        name = self.language if language is None else language
        if name not in self._languages:
            raise InputError(
                f"{self.name} was loaded without the language {name!r}; it has "
                f"{', '.join(self.languages)}"
            )
        return self._languages[name]

    def _require(self, task: str) -> None:
        if task != self.task:
            (needed, method), (found, other) = TASKS[task], TASKS[self.task]
            raise InputError(
                f"{method} needs a body that {needed}, and {self.name} {found}: use {other}, or load "
                "another body"
            )

    def _prediction(self, probabilities: Sequence[float], cut: int) -> Prediction:
        named = dict(zip(self.classes, probabilities, strict=True))
        label = max(named, key=named.get)
        return Prediction(label, named[label], named, cut)


def _packs(languages: Languages) -> dict[str, LanguagePack]:
    """The packs, by the names that they are given or go by."""
    if isinstance(languages, Mapping):
        packs = {name: load_pack(folder) for name, folder in languages.items()}
    else:
        folders = [languages] if isinstance(languages, str | Path) else languages
        packs = {}
        for folder in folders:
            pack = load_pack(folder)
            first = packs.setdefault(pack.description.language, pack)
            if first is not pack:
                raise InputError(
                    f"{first.folder} and {pack.folder} are both packs of {pack.description.language}: "
                    "name them, as in {'name': folder}"
                )
    if not packs:
        raise InputError("no language pack is given: give one, or None for the body's own language")
    return packs


def _inside(checkpoint: Checkpoint) -> _Inside:
    """The files of the language inside a body, as `pack` finds them."""
    try:
        dictionary = find_training_file(checkpoint, DICTIONARY)
        tokenizer = find_training_file(checkpoint, *TOKENIZER_FILES)
    except InputError as error:
        raise InputError(f"{error}; or give a language pack") from None
    return _Inside(symbols_of(checkpoint, dictionary), tokenizer, dictionary)


def _plugged(
    checkpoint: Checkpoint,
    languages: Mapping[str, LanguagePack | _Inside],
    device: str,
    bfloat16: bool,
) -> Iterator[tuple[str, _Language]]:
    """The languages over one body: each in a model of its own, whose body is that of the first."""
    first: MiniModelRoberta | None = None
    for name, language in languages.items():
        inside = isinstance(language, _Inside)
        plugged = checkpoint if inside else plug(checkpoint, language)[0]
        side = plugged.language_side()  # refuses a body without an MLM head
        if first is None:
            model = first = build_model(plugged, language.symbols, device)
            if bfloat16:
                first.bfloat16()
        else:
            model = in_another_language(first, side, language.symbols)
        vocabulary = AligningVocabulary(language.tokenizer, language.dictionary)
        yield name, _Language(language.symbols, vocabulary, model)


def _encoded(vocabulary: AligningVocabulary, texts: Sequence[str]) -> list[numpy.ndarray]:
    return vocabulary.encode_batch(texts) if texts else []


def _masked_sequences(
    texts: Sequence[str], vocabulary: AligningVocabulary, mask: int, longest: int
) -> Iterator[numpy.ndarray]:
    """The texts between <s> and </s>, with the id `mask` in the place of each <mask>."""
    parts = [text.split(MASK_SYMBOL) for text in texts]
    for index, between in enumerate(parts):
        if len(between) == 1:
            raise TextError(index, f"has no {MASK_SYMBOL}: write it where a token is wanted")
    encoded = iter(_encoded(vocabulary, [part.rstrip() for between in parts for part in between]))
    for index, between in enumerate(parts):
        ids = [BOS, *next(encoded)]
        for _ in between[1:]:
            ids += [mask, *next(encoded)]
        ids.append(EOS)
        if len(ids) > longest:
            raise TextError(
                index,
                f"has {len(ids)} tokens with <s> and </s>, and the body {longest} positions: "
                "shorten it",
            )
        yield numpy.array(ids, numpy.int64)


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("a single text is given: give a list of texts")
    return [_checked_text(text, index) for index, text in enumerate(texts)]


def _checked_examples(texts: Sequence[str | Sequence[str]]) -> list[tuple[str, ...]]:
    if isinstance(texts, str):
        raise InputError("a single text is given: give a list of texts, or of pairs of texts")
    examples = []
    for index, example in enumerate(texts):
        parts = tuple(example) if isinstance(example, list | tuple) else (example,)
        if len(parts) not in (1, 2):
            raise TextError(index, f"has {len(parts)} parts: give a text, or a pair of texts")
        examples.append(tuple(_checked_text(part, index) for part in parts))
    return examples


def _checked_text(text: str, index: int) -> str:
    if not isinstance(text, str):
        raise TextError(index, f"is of the type {type(text).__name__}: give a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError(index, "has half of a character (a lone surrogate): mend it") from None
    return text
