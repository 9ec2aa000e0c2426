"""The steps of `adapt`: commands of this package and of fairseq, and what each will take."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from ..corpus.pairs import TEST
from ..corpus.pairs import TRAIN as REST
from ..cost.flops import Shape, masked_lm_flops
from ..cost.memory import BITS_32, parameter_count, training_memory
from ..interop.import_hf import BODY, PACK
from ..packs.commands import MODEL
from ..vocabulary.tokenizers import FAST_TOKENIZER_FILE, TOKENIZER_FILES
from .given import Machine, Material, Model
from .options import MINIPOST, START, AdaptOptions

PACKAGE = Path(__file__).resolve().parents[1]
OURS, TRAIN = "fairseq-minimodel", "fairseq-train"
LAST = "checkpoint_last.pt"
LENGTH, LEARNING_RATE = 128, 0.001
BATCH, GPU_BATCH = 16, 64  # sequences
FEWEST_PAIRS, MOST_HELD_OUT = 200, 500  # of fewer none is held out; never more than a tenth
SECONDS_BETWEEN_CHECKPOINTS = 300
OVERHEAD = 0.01  # seconds of an update that are not products
LONGEST = 1.5  # of the time that was planned, after which a training ends

# What the other steps take, measured on a busy core (docs/prepare.md, docs/initialise.md): seconds in
# all, or for each MB of text or of weights, or each pair or word.
COMMAND, PREPARE, VOCABULARY, FOCUS, ALIGNED, WEIGHTS = 5, 0.5, 4, 5, 0.001, 0.02
MOST_FOR_VOCABULARY, MOST_FOR_FOCUS = 100, 40  # MB that are looked at
TOKENS_OF_A_SENTENCE = 30
PROCESS, OF_VOCABULARY, OF_ALIGNMENT = 4e8, 20, 3e4  # bytes: of PyTorch; for each byte; each pair


@dataclass(frozen=True)
class Step:
    """A command of the plan.

    Attributes:
        name: of the step, and of its log.
        command: its words.
        output: what is there when it is done.
        seconds: about; memory: bytes at the peak, about; flops: of matrix products.
        updates: of a training; 0: it is none.
    """

    name: str
    command: tuple[str, ...]
    output: Path
    seconds: float = COMMAND
    memory: float = PROCESS
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
        tokens_of_update: of training.
    """

    def __init__(
        self, options: AdaptOptions, model: Model, material: Material, machine: Machine
    ) -> None:
        self.options, self.model, self.material, self.machine = options, model, material, machine
        self.root, self.language = options.output, options.language
        self.body = model.body or self.root / "source" / BODY
        self.source_pack = model.pack or self.root / "source" / PACK
        self.data, self.source_data = (
            self.root / "data" / name for name in (self.language, options.source_language)
        )
        self.pack = self.root / "packs" / self.language
        self.positions = int(model.settings["max_positions"])
        self.length = min(LENGTH, self.positions)
        self.sequences = GPU_BATCH if machine.has_gpu else BATCH
        self.tokens_of_update = self.sequences * self.length
        size = material.text / 1e6
        self.vocabulary = 8_000 if size < 100 else 16_000 if size < 1000 else 32_000
        # What MiniPost keeps of the model, and puts on top.
        layers = model.shape.layers
        self.depth, self.new = (max(1, layers // 2), 1) if layers <= 6 else (layers // 3, 2)
        self.held_out = min(MOST_HELD_OUT, material.pairs // 10)
        self.held_out *= material.pairs >= FEWEST_PAIRS
        self.pairs = options.parallel
        if self.held_out:
            folder = self.root / "pairs"
            self.pairs = [(folder / REST[0], folder / REST[1])]
            self.test = (folder / TEST[0], folder / TEST[1])

    def steps(self, method: str, post_updates: int = 0, updates: int = 0) -> list[Step]:
        """All steps, with so many updates of MiniPost's step 1b and of the language side."""
        trained = method != START
        start = self.root / "packs" / f"{self.language}-start" if trained else self.pack
        steps = [self._import(method), self._split(), self._prepare(), self._start(start)]
        base = self.body
        if method == MINIPOST:
            steps += [self._prepare_source(), self._extend(), self._train_post(post_updates)]
            base = self.root / "post" / LAST
        if trained:
            steps += [self._plug(base, start), self._train_language(method, updates)]
            steps.append(self._pack(self.root / "trained" / LAST, self.language, self.pack))
        packs = [start, self.pack] if trained else [self.pack]
        steps += [self._retrieve(packs), self._perplexity(packs)]
        steps += [self._export(), *map(self._export_task, self.options.tasks), self._report()]
        return [step for step in steps if step]

    def _ours(self, name: str, output: Path, verb: str, *words: object, **takes: float) -> Step:
        command = (OURS, verb, *map(str, words))
        return Step(name, command, output, **takes)

    # ---- the model and the text

    @property
    def _weights(self) -> float:
        """MB of the model's weights."""
        return 4e-6 * sum(parameter_count(self.model.shape, self.positions))

    def _of_weights(self) -> dict[str, float]:
        """What reading and writing the model takes."""
        megabytes = self._weights
        return {"seconds": COMMAND + WEIGHTS * megabytes, "memory": PROCESS + 2e6 * megabytes}

    def _import(self, method: str) -> Step | None:
        options = self.options
        if self.model.pack:
            return None
        if self.model.body:
            return self._pack(self.body, options.source_language, self.source_pack)
        takes, counts = self._of_weights(), []
        if method == MINIPOST and not self.model.has_head:  # a new head begins with the counts
            counts = ["--text", *options.source_text]
            takes["seconds"] += PREPARE * self.material.source_text / 1e6
        return self._ours(
            "import", self.body.parent / BODY, "import-hf", "--model", options.model, "--language",
            options.source_language, *counts, "--output", self.body.parent, **takes,
        )  # fmt: skip

    def _pack(self, checkpoint: Path, language: str, pack: Path) -> Step:
        return self._ours(
            f"pack-{language}", pack, "pack", "--checkpoint", checkpoint, "--language", language,
            "--output", pack,
        )  # fmt: skip

    def _split(self) -> Step | None:
        if not self.held_out:
            return None
        given = [word for pair in self.options.parallel for word in ("--parallel", *pair)]
        folder = self.test[0].parent
        return self._ours(
            "split-pairs",
            folder,
            "split-pairs",
            *given,
            "--test",
            self.held_out,
            "--output",
            folder,
        )

    def _prepare(self) -> Step:
        size = self.material.text / 1e6
        sample = min(size, MOST_FOR_VOCABULARY)
        return self._ours(
            "prepare", self.data, "prepare", "--text", *self.options.text, "--body", self.body,
            *["--document-per-line"] * self.material.lines,
            "--vocabulary-size", self.vocabulary, "--sequence-length", self.length,
            "--valid-megabytes", 0.2, "--output", self.data,
            seconds=COMMAND + PREPARE * size + VOCABULARY * sample,
            memory=PROCESS + OF_VOCABULARY * 1e6 * sample,
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
            *["--document-per-line"] * self.material.source_lines,
            "--sequence-length", self.length, "--valid-megabytes", 0.2,
            "--output", self.source_data,
            seconds=COMMAND + PREPARE * self.material.source_text / 1e6,
        )  # fmt: skip

    # ---- the language

    def _start(self, pack: Path) -> Step:
        options, known = self.options, self.material.pairs + self.material.words
        translations = [word for pair in self.pairs for word in ("--parallel", *pair)]
        if options.dictionary:
            translations += ["--dictionary", options.dictionary]
        seconds = FOCUS * min(self.material.text / 1e6, MOST_FOR_FOCUS) + ALIGNED * known
        return self._ours(
            "start", pack, "start", "--body", self.body, "--data", self.data, "--language",
            self.language, "--initialise", "aligned" if translations else "focus", *translations,
            "--output", pack, seconds=COMMAND + seconds, memory=PROCESS + OF_ALIGNMENT * known,
        )  # fmt: skip

    def _extend(self) -> Step:
        output = self.root / "extended.pt"
        return self._ours(
            "extend", output, "extend", "--body", self.body, "--depth", self.depth, "--new-layers",
            self.new, "--layers", "copy", "--head", "copy", "--output", output,
            **self._of_weights(),
        )  # fmt: skip

    def _plug(self, body: Path, pack: Path) -> Step:
        output = self.root / "started"
        return self._ours(
            "plug", output / MODEL, "plug", "--body", body, "--pack", pack, "--output", output,
            **self._of_weights(),
        )  # fmt: skip

    def _train_post(self, updates: int) -> Step:
        sizes = {**self.model.settings, "encoder_layers": self.depth + self.new}
        words = [word for name, value in sizes.items() for word in (_option(name), value)]
        return self._train(
            "post", self.source_data, updates, f"bottom:{self.depth}",
            replace(self.model.shape, layers=self.depth + self.new),
            "--task", "masked_lm", "--finetune-from-model", self.root / "extended.pt",
            "--freeze", f"bottom:{self.depth}", *words,
        )  # fmt: skip

    def _train_language(self, method: str, updates: int) -> Step:
        # The base has the start of the language inside, whose vocabulary is that of the data: to copy
        # what both have is to go on from it.
        layers = self.depth + self.new if method == MINIPOST else self.model.shape.layers
        precision = ["--body-precision", "bfloat16"] * self.machine.bfloat16
        return self._train(
            "trained", self.data, updates, "body",
            replace(self.model.shape, layers=layers, vocabulary=self.vocabulary),
            "--task", "language_adaptation", "--base-checkpoint", self.root / "started" / MODEL,
            "--initialise", "overlap", *precision,
        )  # fmt: skip

    def _train(
        self, name: str, data: Path, updates: int, freeze: str, shape: Shape, *words: object
    ) -> Step:
        folder = self.root / name
        flops = (
            self.tokens_of_update
            * masked_lm_flops(
                shape, 1, self.length, freeze=freeze, predictions_only=freeze == "body"
            ).total
        )
        update = OVERHEAD + flops / self.machine.rate
        often = max(1, min(updates, round(SECONDS_BETWEEN_CHECKPOINTS / update)))
        command = [
            TRAIN, data, "--user-dir", PACKAGE, *words, "--criterion", "joint_masked_lm",
            "--arch", "minimodel_roberta", "--tokens-per-sample", self.length,
            "--sample-break-mode", "none", "--dropout", 0, "--attention-dropout", 0,
            "--batch-size", self.sequences, "--required-batch-size-multiple", 1,
            "--optimizer", "fused_adam", "--adam-betas", "(0.9,0.98)", "--lr", LEARNING_RATE,
            "--lr-scheduler", "polynomial_decay", "--warmup-updates", updates // 10,
            "--total-num-update", updates, "--max-update", updates,
            "--stop-time-hours", f"{LONGEST * update * updates / 3600:.4f}",
            "--save-interval-updates", often, "--keep-interval-updates", 1, "--no-epoch-checkpoints",
            "--num-workers", 0, "--log-format", "json", "--log-interval", 10, "--save-dir", folder,
            *(() if self.machine.has_gpu else ("--cpu",)),
        ]  # fmt: skip
        memory = training_memory(
            shape, self.sequences, self.length, freeze=freeze, precision=BITS_32
        )
        return Step(
            name, tuple(map(str, command)), folder / LAST, COMMAND + update * updates,
            PROCESS + memory.total, flops * updates, updates,
        )  # fmt: skip

    # ---- what comes of it

    def _scoring(self, sentences: int, packs: int) -> dict[str, float]:
        tokens = sentences * packs * TOKENS_OF_A_SENTENCE
        flops = masked_lm_flops(self.model.shape, tokens, TOKENS_OF_A_SENTENCE).forward
        seconds = COMMAND + flops / self.machine.rate
        return {"seconds": seconds, "memory": PROCESS + 2e6 * self._weights, "flops": flops}

    def _retrieve(self, packs: list[Path]) -> Step | None:
        if not self.held_out:
            return None
        output = self.root / "scores" / "retrieval.json"
        given = [word for pack in packs for word in ("--pack", pack)]
        # a body without an MLM head was made for sentence vectors, which its last layer gives
        layer = [] if self.model.has_head else ["--layer", self.model.shape.layers]
        return self._ours(
            "retrieve", output, "retrieve", "--body", self.body, "--source-pack", self.source_pack,
            *given, "--parallel", *self.test, *layer, "--json", output,
            **self._scoring(self.held_out, len(packs) + 1),
        )  # fmt: skip

    def _perplexity(self, packs: list[Path]) -> Step | None:
        if not self.held_out or not self.model.has_head:
            return None
        output = self.root / "scores" / "perplexity.json"
        given = [word for pack in packs for word in ("--pack", pack, self.test[1])]
        return self._ours(
            "perplexity", output, "perplexity", "--body", self.body, *given, "--json", output,
            **self._scoring(self.held_out, len(packs)),
        )  # fmt: skip

    def _export(self) -> Step:
        name = Path(self.options.model).name if self.model.body is None else self.body.parent.name
        output = self.root / "hf" / f"{name}-{self.language}"
        return self._ours(
            "export", output, "export-hf", "--body", self.body, "--pack", self.pack, "--output",
            output, **self._of_weights(),
        )  # fmt: skip

    def _export_task(self, task: Path) -> Step:
        output = self.root / "hf" / f"{task.resolve().name}-{self.language}"
        return self._ours(
            f"export-{task.resolve().name}", output, "export-hf", "--model", task, "--pack",
            self.pack, "--like", self.body, "--output", output, **self._of_weights(),
        )  # fmt: skip

    def _report(self) -> Step:
        output = self.root / "report.html"
        return self._ours("report", output, "report", self.root, "--output", output)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
