"""The steps of `adapt`: commands of this package and of fairseq, and what each will take."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..corpus.pairs import TEST
from ..corpus.pairs import TRAIN as REST
from ..corpus.word_by_word import SOURCE, TARGET
from ..cost.flops import Shape, masked_lm_flops, sentence_vector_flops
from ..cost.freezing import BODY as BODY_FROZEN
from ..cost.memory import BITS_32, parameter_count, training_memory
from ..interop.import_hf import BODY, PACK
from ..packs.commands import MODEL
from ..vocabulary.tokenizers import FAST_TOKENIZER_FILE, TOKENIZER_FILES
from .given import Machine, Material, Model
from .options import MINIPOST, SENTENCE_VECTORS, START, AdaptOptions

PACKAGE = Path(__file__).resolve().parents[1]
OURS, TRAIN = "fairseq-minimodel", "fairseq-train"
LAST = "checkpoint_last.pt"
LENGTH, LEARNING_RATE = 128, 0.001
BATCH, GPU_BATCH = 16, 64  # sequences
# Of sentence vectors: pairs in a batch, and how much it counts to tell the texts of a batch apart.
VECTOR_BATCH, VECTOR_RATE, CONTRASTIVE = 64, 0.003, 1.0
SENTENCES = 10_000  # that are translated word by word, where there are no pairs
# Their folders: frequent translations are better to start from, any translation is to train vectors on
# (docs/sentence_vectors.md).
FREQUENT, EVEN = "words", "words-even"
FEWEST_PAIRS, MOST_HELD_OUT = 200, 500  # of fewer none is held out; never more than a tenth
SECONDS_BETWEEN_CHECKPOINTS = 300
OVERHEAD = 0.01  # seconds of an update that are not products
LONGEST = 1.5  # of the time that was planned, after which a training ends

# What the other steps take, measured on a busy core (docs/prepare.md, docs/initialise.md): seconds in
# all, or for each MB of text or of weights, or each pair or word.
COMMAND, PREPARE, VOCABULARY, FOCUS, ALIGNED, WEIGHTS = 5, 0.5, 4, 5, 0.001, 0.02
COUNTING = 0.5
MOST_FOR_VOCABULARY, MOST_FOR_FOCUS = 100, 40  # MB that are looked at
TOKENS_OF_A_SENTENCE, TOKENS_OF_A_WORD = 30, 4  # <s> and </s> among them
PROCESS, OF_VOCABULARY, OF_ALIGNMENT = 4e8, 20, 3e4  # bytes: of PyTorch; for each byte; each pair


@dataclass(frozen=True)
class Step:
    """A command of the plan.

    Attributes:
        name: of the step, and of its log.
        command: its words.
        output: what is there when it is done.
        seconds, memory: about; memory in bytes, at the peak.
        flops: of matrix products.
        updates: of a training; 0: it is none.
    """

    name: str
    command: tuple[str, ...]
    output: Path
    seconds: float
    memory: float
    flops: float = 0.0
    updates: int = 0

    @property
    def line(self) -> str:
        """The command as a shell reads it."""
        return shlex.join(self.command)

    @property
    def update_seconds(self) -> float:
        return (self.seconds - COMMAND) / self.updates


class Commands:
    """Makes the steps of a method.

    Attributes:
        body, pack: the model, and the language that is made.
        known: pairs of sentences to learn from; `pairs` are their files for the start, `learned` those
            for sentence vectors.
        tokens_of_update: of training.
    """

    def __init__(
        self, options: AdaptOptions, model: Model, material: Material, machine: Machine
    ) -> None:
        self.options, self.model, self.material, self.machine = options, model, material, machine
        self.root, self.language = options.output, options.language
        self.body = model.body or self.root / "source" / BODY
        self.source_pack = model.pack or self.root / "source" / PACK
        self.data = self.root / "data" / self.language
        self.source_data = self.root / "data" / options.source_language
        self.pack = self.root / "packs" / self.language
        self.positions = int(model.settings["max_positions"])
        self.length = min(LENGTH, self.positions)
        self.sequences = GPU_BATCH if machine.has_gpu else BATCH
        self.tokens_of_update = self.sequences * self.length
        self.megabytes = material.text / 1e6
        sizes = [(100, 8_000), (1_000, 16_000), (math.inf, 32_000)]
        self.vocabulary = next(size for most, size in sizes if self.megabytes < most)
        # Bytes of the model's weights, and what reading and writing it takes.
        self.weights = 4 * sum(parameter_count(model.shape, self.positions))
        self.of_weights = {"seconds": WEIGHTS * self.weights / 1e6, "memory": 2 * self.weights}
        # What MiniPost keeps of the model, and puts on top.
        layers = model.shape.layers
        self.depth, self.new = (max(1, layers // 2), 1) if layers <= 6 else (layers // 3, 2)
        # A ModernBERT of this depth is to end on a layer that attends to all tokens, if it has one.
        every = model.settings.get("global_every", 1)
        tops = range(self.new, layers - self.depth + 1)
        ends = [new for new in tops if (self.depth + new) % every == 1 % every]
        self.new = next(iter(ends), self.new)
        self.mini = replace(model.shape, layers=self.depth + self.new)
        self.held_out, self.pairs = 0, options.parallel
        if material.pairs >= FEWEST_PAIRS:
            self.held_out = min(MOST_HELD_OUT, material.pairs // 10)
            parts = [[self.root / "pairs" / name for name in names] for names in (REST, TEST)]
            self.pairs, self.test = parts[:1], parts[1]
        self.known, self.learned = material.pairs, self.pairs
        if options.dictionary and options.source_text and not material.pairs:
            self.known = SENTENCES
            self.pairs, self.learned = (
                [[self.root / folder / name for name in (SOURCE, TARGET)]]
                for folder in (FREQUENT, EVEN)
            )

    def steps(self, method: str, post_updates: int = 0, updates: int = 0) -> list[Step]:
        """All steps, with so many updates of MiniPost's step 1b and of the language side."""
        packs = [self.pack]
        if method != START:
            packs.insert(0, self.root / "packs" / f"{self.language}-start")
        frequent = ["--target-text", *self.options.text]
        steps = [self._import(method), self._split(), self._translate(FREQUENT, frequent)]
        steps += [self._prepare(), self._start(packs[0])]
        base = self.body
        if method == SENTENCE_VECTORS:
            steps += [self._plug(self.body, packs[0]), self._translate(EVEN, [])]
            steps.append(self._train_vectors(updates))
            steps.append(self._pack(self.root / "trained" / LAST, self.language, self.pack))
        if method == MINIPOST:
            steps += [self._prepare_source(), self._extend(), self._post(post_updates)]
            base = self.root / "post" / LAST
        if method not in (START, SENTENCE_VECTORS):
            steps += [self._plug(base, packs[0]), self._train_language(method, updates)]
            steps.append(self._pack(self.root / "trained" / LAST, self.language, self.pack))
        steps += [self._retrieve(packs), self._perplexity(packs), self._export(), self._report()]
        return [step for step in steps if step] + [*map(self._export_task, self.options.tasks)]

    def _ours(
        self, name: str, output: Path, *words: object, seconds: float = 0, memory: float = 0,
        flops: float = 0,
    ) -> Step:  # fmt: skip
        command = (OURS, *map(str, words))
        return Step(name, command, output, COMMAND + seconds, PROCESS + memory, flops)

    # ---- the model and the text

    def _import(self, method: str) -> Step | None:
        model, options = self.model, self.options
        if model.body:
            return None if model.pack else self._pack(
                self.body, options.source_language, self.source_pack
            )  # fmt: skip
        takes, folder = dict(self.of_weights), self.body.parent
        words = ["--model", options.model, "--language", options.source_language]
        # a new head begins with the counts, if it has a bias
        if method == MINIPOST and not model.has_head and model.shape.tied:
            words += ["--text", *options.source_text]
            takes["seconds"] += PREPARE * self.material.source_text / 1e6
        return self._ours("import", self.body, "import-hf", *words, "--output", folder, **takes)

    def _pack(self, checkpoint: Path, language: str, pack: Path) -> Step:
        words = ["--checkpoint", checkpoint, "--language", language, "--output", pack]
        return self._ours(f"pack-{language}", pack, "pack", *words)

    def _split(self) -> Step | None:
        if not self.held_out:
            return None
        words = [*_parallel(self.options.parallel), "--test", self.held_out]
        folder = self.root / "pairs"
        return self._ours("split-pairs", folder, "split-pairs", *words, "--output", folder)

    def _translate(self, name: str, more: list[object]) -> Step | None:
        if self.known == self.material.pairs:
            return None
        folder = self.root / name
        return self._ours(
            f"translate-{name}", folder, "translate-words", "--dictionary", self.options.dictionary,
            "--text", *self.options.source_text, *more, "--sentences", SENTENCES,
            "--output", folder, seconds=COUNTING * self.megabytes,
        )  # fmt: skip

    def _prepare(self) -> Step:
        sample = min(self.megabytes, MOST_FOR_VOCABULARY)
        return self._ours(
            "prepare", self.data, "prepare", "--text", *self.options.text, "--body", self.body,
            "--vocabulary-size", self.vocabulary, *self._documents(self.material.lines),
            "--output", self.data, seconds=PREPARE * self.megabytes + VOCABULARY * sample,
            memory=OF_VOCABULARY * 1e6 * sample,
        )  # fmt: skip

    def _prepare_source(self) -> Step:
        files = [self.source_pack / name for name in TOKENIZER_FILES]
        # before there is a pack: the file that it will have, most likely
        files = [file for file in files if file.is_file()] or [
            file for file in files if Path(self.options.model, file.name).is_file()
        ] + [self.source_pack / FAST_TOKENIZER_FILE]
        return self._ours(
            "prepare-source", self.source_data, "prepare", "--text", *self.options.source_text,
            "--sentencepiece-model", files[0], "--dict", self.source_pack / "dict.txt",
            *self._documents(self.material.source_lines), "--output", self.source_data,
            seconds=PREPARE * self.material.source_text / 1e6,
        )  # fmt: skip

    def _documents(self, lines: bool) -> list[object]:
        sizes = ["--sequence-length", self.length, "--valid-megabytes", 0.2]
        return sizes + ["--document-per-line"] * lines

    # ---- the language

    def _start(self, pack: Path) -> Step:
        options, known = self.options, self.known + self.material.words
        words = _parallel(self.pairs)
        if options.dictionary:
            words += ["--dictionary", options.dictionary]
        return self._ours(
            "start", pack, "start", "--body", self.body, "--data", self.data, "--language",
            self.language, "--initialise", "aligned" if words else "focus", *words, "--output", pack,
            seconds=FOCUS * min(self.megabytes, MOST_FOR_FOCUS) + ALIGNED * known,
            memory=OF_ALIGNMENT * known,
        )  # fmt: skip

    def _extend(self) -> Step:
        output = self.root / "extended.pt"
        return self._ours(
            "extend", output, "extend", "--body", self.body, "--depth", self.depth, "--new-layers",
            self.new, "--layers", "copy", "--head", "copy", "--output", output, **self.of_weights,
        )  # fmt: skip

    def _plug(self, body: Path, pack: Path) -> Step:
        output = self.root / "started"
        words = ["--body", body, "--pack", pack, "--output", output]
        return self._ours("plug", output / MODEL, "plug", *words, **self.of_weights)

    def _post(self, updates: int) -> Step:
        sizes = {**self.model.settings, "encoder_layers": self.mini.layers}
        words = [word for name, value in sizes.items() for word in (_option(name), value)]
        freeze = f"bottom:{self.depth}"
        return self._train(
            "post", self.source_data, updates, self.mini, freeze, "--task", "masked_lm",
            "--finetune-from-model", self.root / "extended.pt", "--freeze", freeze, *words,
        )  # fmt: skip

    def _train_language(self, method: str, updates: int) -> Step:
        # The base has the start of the language inside, whose vocabulary is that of the data: to copy
        # what both have is to go on from it.
        shape = self.mini if method == MINIPOST else self.model.shape
        return self._train(
            "trained", self.data, updates, replace(shape, vocabulary=self.vocabulary), "body",
            "--task", "language_adaptation", "--base-checkpoint", self.root / "started" / MODEL,
            "--initialise", "overlap", *["--body-precision", "bfloat16"] * self.machine.bfloat16,
        )  # fmt: skip

    def _train_vectors(self, updates: int) -> Step:
        # As in `_train_language`, the start of the language is inside the base.
        shape = replace(self.model.shape, vocabulary=self.vocabulary)
        cost = sentence_vector_flops(shape, 1, TOKENS_OF_A_SENTENCE, freeze=BODY_FROZEN)
        texts, length = self.known, TOKENS_OF_A_SENTENCE
        known = [word for pair in self.learned for word in ("--pairs", *pair)]
        if not known:
            texts, length = self.material.words, TOKENS_OF_A_WORD
            known = ["--word-pairs", self.options.dictionary]
        teacher = cost.forward * texts * length  # and, once, the teacher's vectors
        step = self._training(
            "trained", self.data, updates, cost.total * VECTOR_BATCH * length,
            VECTOR_BATCH, VECTOR_RATE, "--task", "sentence_distillation", "--base-checkpoint",
            self.root / "started" / MODEL, "--source-pack", self.source_pack, "--initialise",
            "overlap", *known, "--criterion", "sentence_distillation", "--contrastive-weight",
            CONTRASTIVE, "--disable-validation",
            *["--body-precision", "bfloat16"] * self.machine.bfloat16,
            memory=training_memory(
                shape, VECTOR_BATCH, TOKENS_OF_A_SENTENCE, freeze=BODY_FROZEN, precision=BITS_32
            ).total,
        )  # fmt: skip
        seconds = step.seconds + teacher / self.machine.rate
        return replace(step, seconds=seconds, flops=step.flops + teacher)

    def _train(
        self, name: str, data: Path, updates: int, shape: Shape, freeze: str, *words: object
    ) -> Step:
        lean = freeze == BODY_FROZEN
        cost = masked_lm_flops(shape, 1, self.length, freeze=freeze, predictions_only=lean)
        return self._training(
            name, data, updates, cost.total * self.tokens_of_update, self.sequences, LEARNING_RATE,
            *words, "--criterion", "joint_masked_lm", "--tokens-per-sample", self.length,
            "--sample-break-mode", "none",
            memory=training_memory(
                shape, self.sequences, self.length, freeze=freeze, precision=BITS_32
            ).total,
        )  # fmt: skip

    def _training(
        self, name: str, data: Path, updates: int, flops: float, sequences: int, rate: float,
        *words: object, memory: float,
    ) -> Step:  # fmt: skip
        """A run of fairseq-train.

        Args:
            flops: of an update; sequences: in it; rate: of learning.
            words: what is its own.
            memory: that it takes, in bytes.
        """
        folder = self.root / name
        update = OVERHEAD + flops / self.machine.rate
        often = max(1, min(updates, round(SECONDS_BETWEEN_CHECKPOINTS / update)))
        command = [
            TRAIN, data, "--user-dir", PACKAGE, *words, "--arch", self.model.architecture,
            "--dropout", 0, "--attention-dropout", 0,
            "--batch-size", sequences, "--required-batch-size-multiple", 1,
            "--optimizer", "fused_adam", "--adam-betas", "(0.9,0.98)", "--lr", rate,
            "--lr-scheduler", "polynomial_decay", "--warmup-updates", updates // 10,
            "--total-num-update", updates, "--max-update", updates,
            "--stop-time-hours", f"{LONGEST * update * updates / 3600:.4f}",
            "--save-interval-updates", often, "--keep-interval-updates", 1, "--no-epoch-checkpoints",
            "--num-workers", 0, "--log-format", "json", "--log-interval", 10, "--save-dir", folder,
            *["--cpu"] * (not self.machine.has_gpu),
        ]  # fmt: skip
        return Step(
            name, tuple(map(str, command)), folder / LAST, COMMAND + update * updates,
            PROCESS + memory, flops * updates, updates,
        )  # fmt: skip

    # ---- what comes of it

    def _scoring(self, passes: int) -> dict[str, float]:
        """What so many passes over the pairs that are held out take."""
        tokens = self.held_out * passes * TOKENS_OF_A_SENTENCE
        flops = masked_lm_flops(self.model.shape, tokens, TOKENS_OF_A_SENTENCE).forward
        seconds = flops / self.machine.rate
        return {"seconds": seconds, "memory": 2 * self.weights, "flops": flops}

    def _retrieve(self, packs: list[Path]) -> Step | None:
        if not self.held_out:
            return None
        output = self.root / "scores" / "retrieval.json"
        words = [word for pack in packs for word in ("--pack", pack)]
        is_for_vectors = self.options.kind == SENTENCE_VECTORS  # then as its settings say
        if (
            not self.model.has_head and not is_for_vectors
        ):  # made for sentence vectors, which its last layer gives
            words += ["--layer", self.model.shape.layers]
        return self._ours(
            "retrieve", output, "retrieve", "--body", self.body, "--source-pack", self.source_pack,
            *words, *_parallel([self.test]), "--json", output, **self._scoring(len(packs) + 1),
        )  # fmt: skip

    def _perplexity(self, packs: list[Path]) -> Step | None:
        is_for_vectors = self.options.kind == SENTENCE_VECTORS
        if not self.held_out or not self.model.has_head or is_for_vectors:
            return None
        output = self.root / "scores" / "perplexity.json"
        words = [word for pack in packs for word in ("--pack", pack, self.test[1])]
        return self._ours(
            "perplexity", output, "perplexity", "--body", self.body, *words, "--json", output,
            **self._scoring(len(packs)),
        )  # fmt: skip

    def _export(self) -> Step:
        name = self.body.parent if self.model.body else Path(self.options.model)
        output = self.root / "hf" / f"{name.resolve().name}-{self.language}"
        words = ["--body", self.body, "--pack", self.pack, "--output", output]
        return self._ours("export", output, "export-hf", *words, **self.of_weights)

    def _export_task(self, task: Path) -> Step:
        name = task.resolve().name
        output = self.root / "hf" / f"{name}-{self.language}"
        words = ["--model", task, "--pack", self.pack, "--like", self.body, "--output", output]
        return self._ours(f"export-{name}", output, "export-hf", *words, **self.of_weights)

    def _report(self) -> Step:
        output = self.root / "report.html"
        return self._ours("report", output, "report", self.root, "--output", output)


def _parallel(pairs: Sequence[Sequence[Path]]) -> list[object]:
    return [word for pair in pairs for word in ("--parallel", *pair)]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
