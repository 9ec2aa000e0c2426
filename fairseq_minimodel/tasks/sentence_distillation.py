"""Sentence vectors in a new language: a language side that gives translations the source's vectors."""

import hashlib
import json
import logging
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, Optional  # noqa: UP035 (fairseq knows lists by this name)

import safetensors.torch
import torch
from fairseq.data import Dictionary
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import II, MISSING, DictConfig, OmegaConf
from torch import Tensor

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.language_side import is_language_side
from ..bodies.tensors import EMBEDDING
from ..bodies.training_files import find_training_file, symbols_of
from ..bodies.weights import read_safetensors
from ..corpus.pairs import read_entries, read_pairs
from ..cost.freezing import BODY
from ..errors import InputError
from ..files.atomic import atomic_file, locked
from ..kinds.batches import Batches
from ..kinds.vectors import pooled_vectors, token_sequences
from ..models.config import dictionary_of, model_class
from ..modules.method import NONE
from ..packs.pack import DICTIONARY, load_pack, tokenizer_in
from ..packs.plug import plug
from ..packs.start import RULES, StartSettings, help_of_rules
from ..vocabulary.tokenizers import PAD, TOKENIZER_FILES, Vocabulary
from .language_adaptation import LanguageAdaptationTask
from .vector_pairs import VectorPairs

logger = logging.getLogger(__name__)

TEACHER_TOKENS = 4096  # in a batch of source texts
VECTORS, KEY = "vectors", "key"  # in the file of the teacher's vectors
AGAIN = "remove it: it is made again"
TWO_FILES = {"nargs": 2, "action": "extend", "metavar": ("SOURCE", "TARGET")}


@dataclass
class SentenceDistillationConfig(StartSettings, FairseqDataclass):
    data: str = field(
        default=MISSING,
        metadata={
            "help": "folder that prepare made, in the new language: dict.txt, tokenizer, text"
        },
    )
    pairs: Optional[List[str]] = field(  # noqa: UP006
        default=None,
        metadata={
            "help": "two files of text, perhaps compressed: sentences in the source language and their "
            "translations, line by line; repeat it for more"
        },
    )
    word_pairs: Optional[str] = field(
        default=None,
        metadata={
            "help": "a word list, perhaps compressed, to learn from as well: on each line a word of "
            "the source language, a tab, and a translation"
        },
    )
    valid_pairs: Optional[List[str]] = field(  # noqa: UP006
        default=None, metadata={"help": "the same, to validate with"}
    )
    base_checkpoint: Optional[str] = field(
        default=None,
        metadata={
            "help": "checkpoint whose body is the teacher, and is kept, frozen (not needed to resume a "
            "run)"
        },
    )
    source_pack: Optional[str] = field(
        default=None,
        metadata={"help": "pack of the source language (default: the one inside the checkpoint)"},
    )
    source_dict: Optional[str] = field(
        default=None,
        metadata={
            "help": "dict.txt of the base checkpoint (default: beside it, or in its data folder)"
        },
    )
    initialise: ChoiceEnum(tuple(RULES)) = field(
        default="aligned",
        metadata={
            "help": f"{help_of_rules()}; aligned takes --pairs and --word-pairs if there is "
            "nothing else"
        },
    )
    seed: int = II("common.seed")
    cpu: bool = II("common.cpu")
    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")


@register_task("sentence_distillation", dataclass=SentenceDistillationConfig)
class SentenceDistillationTask(LanguageAdaptationTask):
    """Learning to give texts in a new language the sentence vectors of their translations.

    Reimers and Gurevych 2020 (arXiv 2004.09813), with the teacher's own body as the student's: it is
    frozen, and only token embeddings are trained. The teacher's vectors are computed once and kept
    beside the checkpoints.
    """

    cfg: SentenceDistillationConfig
    frozen = BODY

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        for name in ("pairs", "valid_pairs"):
            help = SentenceDistillationConfig.__dataclass_fields__[name].metadata["help"]
            parser.add_argument(f"--{name.replace('_', '-')}", help=help, **TWO_FILES)
        super().add_args(parser)

    @classmethod
    def load_dict(cls, cfg: SentenceDistillationConfig) -> Dictionary:
        """Raises InputError: there is none."""
        path = Path(str(cfg.data).split(":")[0], DICTIONARY)
        if not path.is_file():
            raise InputError(f"there is no {path}: make it with fairseq-minimodel prepare")
        return Dictionary.load(str(path))

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model over the base checkpoint; nothing but token embeddings is trained.

        Raises:
            InputError: there are no pairs, there is no base checkpoint, it does not fit, or nothing
                says how sentence vectors are made of its hidden states.
        """
        if not from_checkpoint:
            self._check_files()
            known = self.cfg.parallel or self.cfg.dictionary
            if self.cfg.initialise == "aligned" and not known:
                self.cfg.parallel, self.cfg.dictionary = self.cfg.pairs, self.cfg.word_pairs
        model = super().build_model(cfg, from_checkpoint)
        self.longest = cfg.sentence_length or cfg.max_positions
        self.settings = [str(cfg.sentence_pooling), cfg.sentence_normalise, self.longest]
        for name, parameter in model.named_parameters():
            if is_language_side(name) and name != EMBEDDING:  # no vector depends on it
                parameter.requires_grad_(False)
        return model

    def depth_over(self, base: Checkpoint) -> int:
        return base.layers  # sentence vectors are made after the last one

    def check_length(self, cfg: DictConfig, checkpoint: Checkpoint) -> None:
        """Refuse a model of which nothing says how it makes sentence vectors with an `InputError`."""
        if cfg.sentence_pooling == NONE:
            raise InputError(
                f"{checkpoint.path} does not say how it makes sentence vectors: give "
                "--sentence-pooling mean (or cls, max), and --sentence-normalise if they have length 1"
            )

    def load_dataset(
        self, split: str, epoch: int = 1, combine: bool = False, **unused: object
    ) -> None:
        """Pairs of a split.

        Raises:
            InputError: there are none, a file cannot be read, or the teacher is gone.
        """
        files = list((self.cfg.pairs if split == "train" else self.cfg.valid_pairs) or ())
        words = self.cfg.word_pairs if split == "train" else None
        if not files and not words:
            raise InputError(
                f"there are no pairs for the split {split}: give --valid-pairs SOURCE TARGET, or "
                "--disable-validation"
            )
        pairs = [
            pair
            for paths in zip(files[::2], files[1::2], strict=True)
            for pair in read_pairs(*paths)
        ]
        if words:
            files.append(words)
            pairs += [pair for pair in read_entries(words) if all(pair)]
        if not pairs:
            raise InputError(f"{' and '.join(files)} have no pair with text on both sides")
        sources, targets = zip(*pairs, strict=True)
        texts, cut = token_sequences(self._vocabulary, targets, self.longest)
        logger.info(
            "%s: %s pairs%s", split, f"{len(texts):,}",
            f", of which {cut:,} were cut to {self.longest} tokens" if cut else "",
        )  # fmt: skip
        vectors = self._teacher_vectors(split, sources)
        self.datasets[split] = VectorPairs(texts, vectors, PAD, self.cfg.seed)

    def max_positions(self) -> int:
        return self.longest

    def _check_files(self) -> None:
        if not self.cfg.pairs and not self.cfg.word_pairs:
            raise InputError(
                "there is nothing to learn from: give --pairs SOURCE TARGET, --word-pairs FILE, or both"
            )
        for name in ("pairs", "valid_pairs"):
            count = len(getattr(self.cfg, name) or ())
            if count % 2:
                raise InputError(
                    f"--{name.replace('_', '-')} has {count} files: give two for each text, the "
                    "source's and the target's"
                )

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        folder = Path(str(self.cfg.data).split(":")[0])
        return Vocabulary(tokenizer_in(folder), folder / DICTIONARY)

    def _teacher_vectors(self, split: str, texts: Sequence[str]) -> Tensor:
        """The teacher's vectors of source texts, texts x width: from the file of an earlier run, or
        computed and written there. Other processes of the run wait for the one that does."""
        path = Path(self.cfg.save_dir, f"teacher.{split}.safetensors")
        with locked(path):
            base = self.cfg.base_checkpoint
            if not (base and Path(base).exists()):
                if path.is_file():
                    return read_safetensors(path, AGAIN)[VECTORS]
                raise InputError(
                    f"neither the base checkpoint {base} nor {path} is there: without one of them "
                    "there are no vectors to learn from"
                )
            teacher = Teacher.of(read_checkpoint(base), self.cfg)
            key = teacher.key(texts, self.settings)
            if (kept := _read_kept(path, key)) is not None:
                return kept
            vectors = teacher.vectors(texts, self.settings, self.cfg.cpu)
            with atomic_file(path) as partial:
                safetensors.torch.save_file({VECTORS: vectors}, partial, metadata={KEY: key})
            return vectors


@dataclass(frozen=True)
class Teacher:
    """A body with the source language inside.

    Attributes:
        body: the checkpoint.
        symbols: one for each row of its embedding.
        vocabulary: of the source language.
    """

    body: Checkpoint
    symbols: Sequence[str]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, base: Checkpoint, cfg: SentenceDistillationConfig) -> "Teacher":
        """Raises InputError: the pack does not fit, or a file of the source language is missing."""
        if cfg.source_pack:
            pack = load_pack(cfg.source_pack)
            vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
            return cls(plug(base, pack)[0], pack.symbols, vocabulary)
        dictionary = cfg.source_dict or find_training_file(base, DICTIONARY)
        tokenizer = find_training_file(base, *TOKENIZER_FILES)
        return cls(base, symbols_of(base, dictionary), Vocabulary(tokenizer, dictionary))

    def key(self, texts: Sequence[str], settings: list[Any]) -> str:
        """Changes when the vectors do."""
        digest = hashlib.sha256(json.dumps([settings, list(texts)]).encode())
        for name in sorted(self.body.state):
            digest.update(self.body.state[name].detach().float().numpy().tobytes())
        return digest.hexdigest()

    def vectors(self, texts: Sequence[str], settings: list[Any], on_cpu: bool) -> Tensor:
        """Texts x width, float32.

        Args:
            settings: pooling, whether vectors are normalised, tokens of the longest text.
        """
        pooling, normalise, longest = settings
        kind = model_class(self.body.family)
        config = OmegaConf.structured(kind.config_class)
        config.update(self.body.body_settings())
        config.update(
            {"sentence_pooling": pooling, "sentence_normalise": normalise, "freeze": "body"}
        )
        task = SimpleNamespace(source_dictionary=dictionary_of(self.symbols))
        with torch.random.fork_rng():  # the run draws what it would draw without a teacher
            model = kind.build_model(config, task)
        own = model.state_dict()
        state = {name: tensor for name, tensor in self.body.state.items() if name in own}
        model.load_state_dict(own | state)
        device = "cpu" if on_cpu or not torch.cuda.is_available() else "cuda"
        sequences, _ = token_sequences(self.vocabulary, texts, longest)
        batches = Batches(TEACHER_TOKENS, device)
        return torch.from_numpy(pooled_vectors(model.to(device).eval(), sequences, batches))


def _read_kept(path: Path, key: str) -> Tensor | None:
    """The vectors of an earlier run with the same teacher and texts; None: there are none."""
    if not path.is_file():
        return None
    with safetensors.safe_open(path, "pt") as file:
        is_same = (file.metadata() or {}).get(KEY) == key
    return read_safetensors(path, AGAIN)[VECTORS] if is_same else None
