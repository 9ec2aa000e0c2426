"""Small sound inputs of every kind, and a command for each verb and each training that reads them.

The inputs stand below `in/`, and commands run in the folder that holds it: no path is absolute, so
that the same command on a copy does the same.
"""

import gzip
import io
import json
import lzma
import random
import shlex
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import forks
import zstandard

import fairseq_minimodel

USER_DIR = str(Path(fairseq_minimodel.__file__).parent)
EXAMPLES = 24  # rows of each labelled file: more would show no more and cost time
OUTPUT = "out/result"

SIZES = shlex.split(
    "--arch minimodel_roberta --encoder-layers 3 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32 "
    "--encoder-attention-heads 2"
)
SCHEDULE = shlex.split(
    "--lr 0.01 --lr-scheduler fixed --batch-size 8 --required-batch-size-multiple 1 --cpu --seed 3 "
    "--log-format json --log-interval 100 --no-epoch-checkpoints"
)
ADAM = ["--optimizer", "fused_adam", "--adam-betas", "(0.9,0.98)"]
BLOCKS = shlex.split("--tokens-per-sample 128 --sample-break-mode complete")
CLASSES = shlex.split(
    "--task sentence_prediction --criterion sentence_prediction --num-classes 4 --init-token 0 "
    "--separator-token 2 --shorten-method truncate --max-positions 128"
)
BODY = ["--finetune-from-model", "in/en/checkpoint_last.pt"]
FROZEN = [*BODY, "--freeze", "language"]
WINDOWS = shlex.split("--max-length 64 --stride 24 --max-question 16")


def verb(words: str, *more: str) -> list[str]:
    return ["fairseq-minimodel", *words.split(), *more]


def training(data: str, save_dir: str, updates: int, *options: str) -> list[str]:
    """A command of fairseq-train; a later --num-workers wins."""
    return ["fairseq-train", data, "--user-dir", USER_DIR, "--save-dir", save_dir, *SCHEDULE, *ADAM,
            "--num-workers", "0", "--max-update", str(updates), *options]  # fmt: skip


def pretraining(save_dir: str, updates: int, *options: str) -> list[str]:
    joint = shlex.split("--task masked_lm --criterion joint_masked_lm --auxiliary-head-layers 2")
    return training("in/data/en", save_dir, updates, *joint, *SIZES, *BLOCKS, *options)


def adaptation(save_dir: str, updates: int, *options: str) -> list[str]:
    words = shlex.split(
        "--task language_adaptation --criterion joint_masked_lm --initialise overlap --depth 2 "
        "--base-checkpoint in/en/checkpoint_last.pt --arch minimodel_roberta"
    )
    return training("in/data/de", save_dir, updates, *words, *BLOCKS, *options)


PREPARE = "--vocabulary-size 200 --character-coverage 1.0 --valid-fraction 0.1 --min-characters 1"
TOKENIZER = "--dict in/data/en/dict.txt --sentencepiece-model in/data/en/sentencepiece.bpe.model"
TESTS = "--test in/packs/en in/examples/test.tsv --test in/packs/de in/examples/target.tsv"
EVALUATE = verb(f"evaluate --body in/topics/checkpoint_last.pt {TESTS} --json {OUTPUT}/scores.json")
IMPORT = verb(f"import-hf --model in/hf --language en --output {OUTPUT}")
EXPORT = verb(
    f"export-hf --body in/topics/checkpoint_last.pt --pack in/packs/de --scores in/scores.json "
    f"--output {OUTPUT}"
)


@dataclass(frozen=True)
class Command:
    """A command on sound inputs.

    Attributes:
        inputs: the files that it reads, each of which may be damaged; those that there are.
        writes: where it may write: what is below, and nothing else.
        resumes: a folder of the inputs that is there at the output before it starts.
    """

    name: str
    words: list[str]
    inputs: tuple[str, ...]
    writes: str = OUTPUT
    resumes: str | None = None

    @property
    def reads_models(self) -> bool:
        return not self.name.startswith(("prepare", "export-benchmark"))


def _pack(language: str) -> tuple[str, ...]:
    names = ("language.safetensors", "language.json", "dict.txt", "sentencepiece.bpe.model")
    return tuple(f"in/packs/{language}/{name}" for name in names)


def _module(name: str) -> tuple[str, ...]:
    names = ("module.safetensors", "module.json", "label/dict.txt")
    return tuple(f"in/modules/{name}/{file}" for file in names)


def _data(language: str) -> tuple[str, ...]:
    names = ("train.bin", "train.idx", "valid.bin", "valid.idx", "dict.txt")
    return tuple(f"in/data/{language}/{name}" for name in names)


_TOKENIZER = ("in/data/en/dict.txt", "in/data/en/sentencepiece.bpe.model")
_TOPICS = tuple(
    f"in/data/topics/{name}"
    for name in ("input0/train.bin", "input0/train.idx", "input0/valid.idx", "label/train.bin",
                 "label/dict.txt", "input0/dict.txt")
)  # fmt: skip
_QUESTIONS = tuple(
    f"in/data/questions/{name}"
    for name in ("windows/train.bin", "windows/train.idx", "spans/train.bin", "spans/valid.idx",
                 "dict.txt")
)  # fmt: skip
EN, DE, FINE = (f"in/{name}/checkpoint_last.pt" for name in ("en", "de", "topics"))
HF = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

COMMANDS = [
    *(
        Command(f"prepare {suffix}",
                verb(f"prepare --text in/text/en.{suffix} {PREPARE} --workers 1 --output {OUTPUT}"),
                (f"in/text/en.{suffix}",))
        for suffix in ("txt", "jsonl", "txt.gz", "txt.xz", "txt.zst")
    ),
    Command("prepare with a tokenizer",
            verb(f"prepare --text in/text/en.txt {TOKENIZER} --workers 1 --output {OUTPUT}"),
            _TOKENIZER),
    *(
        Command(f"prepare-classification {suffix}",
                verb(f"prepare-classification --train in/examples/train.{suffix} --valid "
                     f"in/examples/dev.{suffix} --text-columns text --label-column label "
                     f"{TOKENIZER} --output {OUTPUT}"),
                (f"in/examples/train.{suffix}", f"in/examples/dev.{suffix}", *_TOKENIZER))
        for suffix in ("tsv", "jsonl")
    ),
    Command("prepare-questions",
            verb(f"prepare-questions --train in/questions/train.json --valid in/questions/dev.json "
                 f"{TOKENIZER} --output {OUTPUT}", *WINDOWS),
            ("in/questions/train.json", "in/questions/dev.json", *_TOKENIZER)),
    Command("export-benchmark zip",
            verb(f"export-benchmark --benchmark snli --data in/snli.zip --output {OUTPUT}.jsonl"),
            ("in/snli.zip",), f"{OUTPUT}.jsonl"),
    Command("export-benchmark tar.gz",
            verb(f"export-benchmark --benchmark snli --data in/snli.tar.gz --output {OUTPUT}.jsonl"),
            ("in/snli.tar.gz",), f"{OUTPUT}.jsonl"),
    Command("truncate", verb(f"truncate --body {EN} --depth 2 --output {OUTPUT}.pt"), (EN,),
            f"{OUTPUT}.pt"),
    Command("extend",
            verb(f"extend --body {EN} --depth 2 --new-layers 1 --output {OUTPUT}.pt"), (EN,),
            f"{OUTPUT}.pt"),
    Command("pack", verb(f"pack --checkpoint {DE} --language de --output {OUTPUT}"),
            (DE, *(f"in/{folder}/{name}" for folder in ("data/de", "de")
                   for name in ("dict.txt", "sentencepiece.bpe.model")))),
    Command("plug", verb(f"plug --body {FINE} --pack in/packs/de --output {OUTPUT}"),
            (FINE, *_pack("de"))),
    Command("plug with a module",
            verb(f"plug --body {EN} --pack in/packs/de --module in/modules/compacter "
                 f"--output {OUTPUT}"),
            (EN, *_pack("de"), *_module("compacter"))),
    Command("module", verb(f"module --checkpoint in/lora/checkpoint_last.pt --output {OUTPUT}"),
            ("in/lora/checkpoint_last.pt", "in/data/topics/label/dict.txt",
             "in/lora/label/dict.txt")),
    Command("merge",
            verb(f"merge --body {EN} --module in/modules/lora --output {OUTPUT}.pt"),
            (EN, *_module("lora")), f"{OUTPUT}.pt"),
    Command("structure", verb("structure --module in/modules/tams"), _module("tams")),
    Command("evaluate", EVALUATE,
            (FINE, *_pack("en"), *_pack("de"), "in/examples/test.tsv", "in/examples/target.tsv",
             "in/data/topics/label/dict.txt", "in/topics/label/dict.txt")),
    Command("evaluate, going on", EVALUATE, (f"{OUTPUT}/scores.json",), resumes="in/scored"),
    Command("evaluate questions",
            verb(f"evaluate --body in/questioned/checkpoint_last.pt --test in/packs/en "
                 f"in/questions/dev.json --json {OUTPUT}.json", *WINDOWS),
            ("in/questioned/checkpoint_last.pt", "in/questions/dev.json", *_pack("en")),
            f"{OUTPUT}.json"),
    Command("evaluate a benchmark",
            verb(f"evaluate --body in/questioned/checkpoint_last.pt --benchmark xquad --data in/xquad "
                 f"--packs in/packs --json {OUTPUT}.json", *WINDOWS),
            ("in/xquad/xquad.de.json", "in/packs/de/language.json"), f"{OUTPUT}.json"),
    Command("retrieve",
            verb(f"retrieve --body {EN} --source-pack in/packs/en --pack in/packs/de --data "
                 f"in/tatoeba --neighbours 3 --json {OUTPUT}.json"),
            (EN, *_pack("de"), "in/tatoeba/tatoeba.deu-eng.deu", "in/tatoeba/tatoeba.deu-eng.eng"),
            f"{OUTPUT}.json"),
    *(
        Command(f"perplexity {suffix}",
                verb(f"perplexity --body {EN} --pack in/packs/en in/text/en.{suffix} --json "
                     f"{OUTPUT}.json"),
                (f"in/text/en.{suffix}", *_pack("en"), EN), f"{OUTPUT}.json")
        for suffix in ("txt", "txt.gz")
    ),
    Command("predict",
            verb(f"predict --body {FINE} --pack in/packs/de --input in/examples/lines.txt --output "
                 f"{OUTPUT}.jsonl"),
            (FINE, *_pack("de"), "in/examples/lines.txt", "in/data/topics/label/dict.txt"),
            f"{OUTPUT}.jsonl"),
    Command("predict with a module",
            verb(f"predict --body {EN} --module in/modules/lora --input in/examples/lines.jsonl "
                 f"--output {OUTPUT}.jsonl"),
            (EN, *_module("lora"), "in/examples/lines.jsonl"), f"{OUTPUT}.jsonl"),
    Command("flops", verb(f"flops --body {EN} --depth 2 --json {OUTPUT}.json"), (EN,),
            f"{OUTPUT}.json"),
    Command("inspect",
            verb(f"inspect {EN} in/packs/de in/data/en in/modules/lora in/models in/hf "
                 f"--json {OUTPUT}.json"),
            (EN, *_pack("de"), *_data("en"), *_module("lora"), "in/models/dict.txt",
             *(f"in/hf/{name}" for name in HF)),
            f"{OUTPUT}.json"),
    Command("inspect --compare", verb(f"inspect --compare {EN} {FINE} --json {OUTPUT}.json"),
            (EN, FINE), f"{OUTPUT}.json"),
    Command("report", verb(f"report in/run --output {OUTPUT}/report.html"),
            ("in/run/train.log", "in/run/scores.json", "in/run/packs/de/language.json",
             "in/run/packs/de/language.safetensors", "in/run/data/de/prepare.json")),
    Command("import-hf", IMPORT, tuple(f"in/hf/{name}" for name in HF)),
    Command("export-hf", EXPORT, (FINE, *_pack("de"), "in/scores.json",
                                  "in/data/topics/label/dict.txt")),
    Command("pretraining", pretraining(OUTPUT, 2), _data("en")),
    Command("pretraining, resumed", pretraining(OUTPUT, 6), (f"{OUTPUT}/checkpoint_last.pt",),
            resumes="in/half"),
    Command("adaptation", adaptation(OUTPUT, 2),
            (EN, *_data("de"), "in/data/de/sentencepiece.bpe.model", "in/data/en/dict.txt")),
    Command("fine-tuning, classification",
            training("in/data/topics", OUTPUT, 2, *CLASSES, *FROZEN, *SIZES), (EN, *_TOPICS)),
    Command("fine-tuning, questions",
            training("in/data/questions", OUTPUT, 2, "--task", "span_qa", "--criterion", "span_qa",
                     "--max-positions", "128", *FROZEN, *SIZES),
            (EN, *_QUESTIONS)),
]  # fmt: skip


def inputs_in(folder: Path, models: bool) -> Path:
    """The folder with the inputs, below `folder`, made if it is not there.

    Args:
        models: whether checkpoints and what is made of them are needed, too.

    Raises:
        RuntimeError: a command failed.
    """
    root = folder / ("sound" if models else "sound-texts")
    if not root.exists():
        partial = root.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _make_inputs(partial, models)
        partial.rename(root)
    return root


def _make_inputs(root: Path, models: bool) -> None:
    root.mkdir(parents=True)

    def run(words: list[str]) -> str:
        ended = forks.run(words, root, seconds=300)
        if ended.code:
            raise RuntimeError(f"{' '.join(words)}\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")
        return ended.stdout

    inputs = root / "in"
    run(verb("toy --output in/toy --sentences 400"))
    _write_texts(inputs)
    for language in ("en", "de"):
        run(verb(f"prepare --text in/text/{language}.txt {PREPARE} --workers 1 --output "
                 f"in/data/{language}"))  # fmt: skip
    run(verb("prepare-classification --train in/examples/train.tsv --valid in/examples/dev.tsv "
             f"--text-columns text --label-column label {TOKENIZER} --output "
             "in/data/topics"))  # fmt: skip
    run(verb("prepare-questions --train in/questions/train.json --valid in/questions/dev.json "
             f"{TOKENIZER} --output in/data/questions", *WINDOWS))  # fmt: skip
    if not models:
        return
    run(pretraining("in/en", 4))
    run(pretraining("in/half", 3))
    log = run(adaptation("in/de", 4))
    fine = [*CLASSES, *SIZES]
    run(training("in/data/topics", "in/topics", 4, *fine, *FROZEN))
    run(training("in/data/questions", "in/questioned", 4, "--task", "span_qa", "--criterion",
                 "span_qa", "--max-positions", "128", *FROZEN, *SIZES))  # fmt: skip
    for module in ("compacter", "lora", "tams"):
        options = {"compacter": "--module-reduction 2", "lora": "--module-rank 2",
                   "tams": "--structure-width 8"}  # fmt: skip
        run(training("in/data/topics", f"in/{module}", 2, *fine, *BODY, "--task-module", module,
                     *options[module].split()))  # fmt: skip
        run(
            verb(f"module --checkpoint in/{module}/checkpoint_last.pt --output in/modules/{module}")
        )
    for language in ("en", "de"):
        run(verb(f"pack --checkpoint in/{language}/checkpoint_last.pt --language {language} "
                 f"--output in/packs/{language}"))  # fmt: skip
    run(verb(f"plug --body {FINE} --pack in/packs/de --output in/models"))
    run(verb(f"evaluate --body {FINE} {TESTS} --json in/scores.json"))
    run(verb(f"evaluate --body {FINE} --test in/packs/en in/examples/test.tsv --json "
             "in/scored/scores.json"))  # fmt: skip
    run(verb(f"export-hf --body {EN} --pack in/packs/en --output in/hf"))
    run_folder = inputs / "run"
    shutil.copytree(inputs / "packs", run_folder / "packs")
    shutil.copytree(inputs / "data/de", run_folder / "data/de")
    shutil.copy(inputs / "scores.json", run_folder)
    (run_folder / "train.log").write_text(log)


def _write_texts(inputs: Path) -> None:
    """Everything that is text, from the generated languages."""
    texts = inputs / "text"
    texts.mkdir()
    for language, side in (("en", "source"), ("de", "target")):
        shutil.copy(inputs / "toy" / side / "mono.txt", texts / f"{language}.txt")
    data = (texts / "en.txt").read_bytes()
    (texts / "en.txt.gz").write_bytes(gzip.compress(data, mtime=0))
    (texts / "en.txt.xz").write_bytes(lzma.compress(data))
    (texts / "en.txt.zst").write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(data))
    documents = data.decode().strip().split("\n\n")
    (texts / "en.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in documents))

    examples = inputs / "examples"
    examples.mkdir()
    sources = {"train": ("source", "train"), "dev": ("source", "dev"), "test": ("source", "test"),
               "target": ("target", "test")}  # fmt: skip
    for name, (side, split) in sources.items():
        rows = (inputs / "toy" / side / f"{split}.tsv").read_text().splitlines()[: EXAMPLES + 1]
        (examples / f"{name}.tsv").write_text("\n".join(rows) + "\n")
        pairs = [dict(zip(("text", "label"), row.split("\t"), strict=True)) for row in rows[1:]]
        (examples / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    sentences = [row.split("\t")[0] for row in rows[1:]]
    (examples / "lines.txt").write_text("\n".join(sentences) + "\n")
    (examples / "lines.jsonl").write_text(
        "".join(json.dumps({"text": sentence}) + "\n" for sentence in sentences)
    )

    (inputs / "questions").mkdir()
    for name in ("train", "dev"):
        rows = [json.loads(row) for row in (examples / f"{name}.jsonl").read_text().splitlines()]
        write_questions(inputs / "questions" / f"{name}.json", [row["text"] for row in rows])

    (inputs / "tatoeba").mkdir()
    english = (examples / "test.tsv").read_text().splitlines()[1:]
    (inputs / "tatoeba/tatoeba.deu-eng.eng").write_text(
        "".join(row.split("\t")[0] + "\n" for row in english)
    )
    (inputs / "tatoeba/tatoeba.deu-eng.deu").write_text("\n".join(sentences) + "\n")

    (inputs / "xquad").mkdir()
    for language, name in (("en", "test"), ("de", "target")):
        rows = [json.loads(row) for row in (examples / f"{name}.jsonl").read_text().splitlines()]
        path = inputs / "xquad" / f"xquad.{language}.json"
        write_questions(path, [row["text"] for row in rows])
    _write_benchmark(inputs, sentences)
    shutil.rmtree(inputs / "toy")


def write_questions(path: Path, sentences: list[str]) -> None:
    """Questions whose answer is a word of the context."""
    generator, paragraphs = random.Random(1), []
    for number, sentence in enumerate(sentences):
        answer = generator.choice(sentence.rstrip(".").split())
        found = {"text": answer, "answer_start": sentence.index(answer)}
        asked = {"id": f"q{number}", "question": "what is there?", "answers": [found]}
        paragraphs.append({"context": sentence, "qas": [asked]})
    data = {"version": "1.1", "data": [{"title": "Sentences", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(data))


def _write_benchmark(inputs: Path, sentences: list[str]) -> None:
    """SNLI as an archive, in both forms."""
    labels = ("entailment", "neutral", "contradiction")
    rows = [
        json.dumps({"gold_label": labels[i % 3], "sentence1": one, "sentence2": other})
        for i, (one, other) in enumerate(zip(sentences, sentences[1:], strict=False))
    ]
    name, content = "snli_1.0/snli_1.0_train.jsonl", ("\n".join(rows) + "\n").encode()
    with zipfile.ZipFile(inputs / "snli.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    with tarfile.open(inputs / "snli.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
