"""A body with the languages of packs, to be asked from Python: `fairseq_minimodel.load`."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.training_files import find_training_file, symbols_of
from ..errors import InputError
from ..kinds import CLASSIFICATION, LABELS, MASKED, SPAN, TAGS
from ..kinds.batches import Batches
from ..kinds.classification import Prediction
from ..kinds.kind import Speaker, TextError
from ..kinds.masked import Token, fill_masks
from ..kinds.mixture import Member
from ..kinds.registry import KINDS, kind_of
from ..kinds.spans import N_BEST, FoundAnswer, best_answers
from ..kinds.tags import TaggedSpan
from ..kinds.vectors import mixed_vectors, text_vectors, vectors_of
from ..kinds.window_options import MAX_ANSWER
from ..kinds.windows import AligningVocabulary
from ..models.minimodel_roberta import MiniModelRoberta
from ..modules.registry import find_method
from ..packs.module import load_module
from ..packs.pack import DICTIONARY, LanguagePack, load_pack
from ..packs.plug import plug
from ..packs.plug_module import plug_module
from ..packs.trained_language import unfit_packs
from ..vocabulary.tokenizers import TOKENIZER_FILES
from .build import build_model, in_another_language, ready_device
from .solve import solver_of

logger = logging.getLogger(__name__)

SOURCE = "source"  # name of the language inside a body
# Tokens a batch. What 1,024 tokens of hidden states take stays in the cache of a processor.
MAX_TOKENS_CPU, MAX_TOKENS = 1024, 8192

Languages = str | Path | Sequence[str | Path] | Mapping[str, str | Path]


@dataclass(frozen=True)
class _Inside:
    """The language inside a body; the attributes are those of a `LanguagePack`."""

    symbols: Sequence[str]
    tokenizer: Path
    dictionary: Path


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
        max_tokens: tokens per batch, padding included; None: 1,024 on a CPU, 8,192 elsewhere.

    Raises:
        InputError: a file is missing or damaged, the parts do not belong together, two packs have one
            name, or the device cannot be used.
    """
    device = ready_device(device)
    if max_tokens is None:
        max_tokens = MAX_TOKENS_CPU if torch.device(device).type == "cpu" else MAX_TOKENS
    checkpoint, name, folder = read_checkpoint(body), str(body), None
    spoken = {SOURCE: _inside(checkpoint)} if languages is None else _packs(languages)
    if module is not None:
        task = load_module(module)
        checkpoint, folder = plug_module(checkpoint, task)[0], task.folder
        name = f"{body} with {module}"
    if languages is not None:
        unfit_packs(checkpoint, list(spoken.values()))
    batches = Batches(max_tokens, device, quiet=True, bfloat16=bfloat16)
    return LanguageModel(name, checkpoint, spoken, labels, folder, batches)


class LanguageModel:
    """A body in memory with one language or several, which `load` reads.

    Its methods take texts in any number, compute them in batches of like length, and return results
    in the order of the texts. They may be called from several threads at once, each in a language of
    its own (`language=`); what one thread does changes nothing for another but the current language,
    which `use_language` sets for all.

    Attributes:
        kind: what the body was trained for.
        task: the name of its kind: "masked", "classification", "tags", "span" or "vectors".
        languages: the names of its languages.
        language: the current one.
        classes: the labels of a classifier, or the tags, in the order of the task; else None.
    """

    def __init__(
        self,
        name: str,
        checkpoint: Checkpoint,
        languages: Mapping[str, LanguagePack | _Inside],
        labels: str | Path | None,
        module: Path | None,
        batches: Batches,
    ) -> None:
        """Arguments and errors as in `load`, which reads the files."""
        self.name, self.device, self.max_tokens = name, batches.device, batches.max_tokens
        self.kind, self._module = kind_of(checkpoint.config), module
        self.task = self.kind.name
        self.classes: list[str] | None = None
        if self.kind.record == LABELS:
            self._labelling = solver_of(name, checkpoint, {"labels": labels}, module)
            self.classes = self._labelling.classes
        self._languages = dict(_plugged(checkpoint, languages, batches))
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
            InputError: a text is not a string, or there is no such language.
        """
        spoken, texts = self._spoken(language), _checked(texts)
        encoded = spoken.vocabulary.encode_batch(texts) if texts else []
        return [[spoken.symbols[index] for index in ids.tolist()] for ids in encoded]

    def encode(
        self,
        texts: Sequence[str],
        layer: int | None = None,
        language: str | Sequence[str] | None = None,
    ) -> Tensor:
        """A vector for each text, as `retrieve` compares them.

        Of a body made for sentence vectors, that is what its settings say (mean, cls or max, perhaps of
        length 1); of others the mean hidden state of the tokens between <s> and </s>. A text that is
        too long for the body is cut; a warning in the log says how many were.

        Args:
            layer: the mean hidden state after this layer instead, from 1; 0: the embeddings. None: of a
                body that is not made for sentence vectors, the one above the middle.
            language: of all texts, or of each; texts in several languages share batches.

        Returns: texts x width, float32, on the CPU.

        Raises:
            InputError: the body does not have the layer, there is not a language for each text; or as
                in `tokenize`.
        """
        body, texts = self._checkpoint, _checked(texts)
        is_mixed = not isinstance(language, str | None)
        if is_mixed and len(language) != len(texts):
            raise InputError(
                f"{len(texts)} texts and {len(language)} languages: give each text its own, or one"
            )
        spoken = [self._spoken(one) for one in (language if is_mixed else [language])]
        layer, longest = vectors_of(body, layer)
        if not texts:
            return torch.empty(0, body.body_settings()["encoder_embed_dim"])
        with self._turn:
            if is_mixed:
                vectors, cut = mixed_vectors(spoken, texts, layer, longest)
            else:
                vectors, cut = text_vectors(spoken[0], texts, layer, longest)
        if cut:
            logger.warning(
                "%d of %d texts are longer than the %d tokens that %s reads and were cut",
                cut, len(texts), longest, self.name,
            )  # fmt: skip
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
        with self._turn:
            return fill_masks(spoken, texts, top, self._longest)

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
        with self._turn:
            return self._labelling.predict(spoken, examples)

    def tag(
        self, texts: Sequence[str | Sequence[str]], language: str | None = None
    ) -> list[list[TaggedSpan]]:
        """The entities in each text; of a body that tags parts of speech, each word with its tag.

        The words of plain text are what stands between blanks, and each punctuation mark at the ends of
        that. A text that is longer than the body has positions is read in several windows.

        Args:
            texts: texts, or lists of words; these have a blank between them in the text that places
                are told of.

        Raises:
            InputError: the body was not fine-tuned to tag; or as in `tokenize`.
        """
        self._require(TAGS)
        spoken, checked = self._spoken(language), _checked_words(texts)
        if not checked:
            return []
        with self._turn:
            return self._labelling.find(spoken, checked)

    def members(self) -> list[Member]:
        """Its head, with the model in each of its languages, to be mixed (`kinds/mixture.py`).

        Raises:
            InputError: the body was not fine-tuned to classify.
        """
        self._require(CLASSIFICATION)
        return [(self._labelling, spoken) for spoken in self._languages.values()]

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
                training data was prepared.
            max_answer: tokens of the longest answer.

        Raises:
            InputError: the body was not fine-tuned for questions or has fewer positions than a window,
                a number is out of its range, there are not as many contexts as questions; or as in
                `tokenize`.
        """
        self._require(SPAN)
        options = {
            "max_length": max_length,
            "stride": stride,
            "max_question": max_question,
            "max_answer": max_answer,
        }
        answerer = solver_of(self.name, self._checkpoint, options, self._module)
        if not 1 <= top <= N_BEST:
            raise InputError(f"top is {top}: give 1 to {N_BEST} answers")
        spoken, questions, contexts = (
            self._spoken(language), _checked(questions), _checked(contexts)
        )  # fmt: skip
        if len(questions) != len(contexts):
            raise InputError(
                f"{len(questions)} questions and {len(contexts)} contexts: give each question its own"
            )
        with self._turn:
            found = answerer.find(spoken, list(zip(questions, contexts, strict=True)))
        if cut := answerer.count_cut(spoken.vocabulary, questions):
            logger.warning(
                "%d of %d questions have more than %d tokens (max_question) and were cut",
                cut, len(questions), answerer.windows.max_question,
            )  # fmt: skip
        return [best_answers(context, spans, top) for context, spans in found]

    def _spoken(self, language: str | None) -> Speaker:
        name = self.language if language is None else language
        if name not in self._languages:
            raise InputError(
                f"{self.name} was loaded without the language {name!r}; it has "
                f"{', '.join(self.languages)}"
            )
        return self._languages[name]

    def _require(self, task: str) -> None:
        if task != self.task:
            needed = KINDS[task]
            raise InputError(
                f"{needed.method} needs a body that {needed.trained}, and {self.name} "
                f"{self.kind.trained}: use {self.kind.method}, or load another body"
            )


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
    batches: Batches,
) -> Iterator[tuple[str, Speaker]]:
    """The languages over one body: each in a model of its own, whose body is that of the first."""
    first: MiniModelRoberta | None = None
    for name, language in languages.items():
        inside = isinstance(language, _Inside)
        plugged = checkpoint if inside else plug(checkpoint, language)[0]
        side = plugged.language_side()  # refuses a body without an MLM head
        if first is None:
            model = first = build_model(plugged, language.symbols, batches)
        else:
            model = in_another_language(first, side, language.symbols)
        vocabulary = AligningVocabulary(language.tokenizer, language.dictionary)
        yield name, Speaker(model, vocabulary, language.symbols, batches)


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


def _checked_words(texts: Sequence[str | Sequence[str]]) -> list[str | list[str]]:
    if isinstance(texts, str):
        raise InputError("a single text is given: give a list of texts, or of lists of words")
    return [
        [_checked_text(word, index) for word in text]
        if isinstance(text, list | tuple)
        else _checked_text(text, index)
        for index, text in enumerate(texts)
    ]


def _checked_text(text: str, index: int) -> str:
    if not isinstance(text, str):
        raise TextError(index, f"is of the type {type(text).__name__}: give a string")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError(
            index, "has half of a character (a lone surrogate): fix this text"
        ) from None
    return text
