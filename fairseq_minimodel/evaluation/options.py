"""The options of the verbs that say how good a model is."""

from dataclasses import dataclass
from pathlib import Path

from ..corpus.options import ANSWERED, LABELLED, TAGGED, bad_offsets
from ..inference.options import mix, mix_batch, mix_steps
from ..kinds import SIMILARITIES, UNKNOWN_TAGS
from ..kinds.window_options import MAX_ANSWER, recorded_window
from ..options import REQUIRED, bfloat16, body, device, json_file, labels, max_tokens, option


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    bodies: list[Path] = option(
        REQUIRED, "fine-tuned checkpoints; several are compared in one table", name="body"
    )
    modules: list[Path] | None = option(
        None,
        "task modules to score over --body, which is then the one that they were trained over",
        name="module",
        metavar="FOLDER",
    )
    mix: list[Path] | None = mix("those of --test or --packs")
    mix_steps: int = mix_steps()
    mix_batch: int = mix_batch()
    tests: list[tuple[str, str]] | None = option(
        None,
        "a language pack and labelled examples (TSV or JSON Lines; for sentence vectors pairs of "
        "sentences, with a number as label), tagged sentences (CoNLL-U, IOB2, columns, JSON Lines) or "
        "questions (SQuAD's JSON) in its language; repeat it for more languages",
        name="test",
        metavar=("PACK", "FILE"),
        group="data, required",
    )
    benchmark: str | None = option(
        None,
        f"one of {', '.join((*LABELLED, *TAGGED, *ANSWERED))}",
        metavar="NAME",
        group="data, required",
    )
    centroids: tuple[Path, Path] | None = option(
        None,
        "bodies made for sentence vectors: a language pack and labelled texts in its language, read as "
        "those to be scored (a file as of --test, or of the benchmark's --data the split train); each "
        "text takes the label whose mean vector is the nearest",
        metavar=("PACK", "PATH"),
    )
    packs: Path | None = option(None, "one pack per language", metavar="FOLDER")
    data: Path | None = option(None, "the benchmark's archive, folder or file", metavar="PATH")
    split: str = option("test", "of the benchmark")
    languages: list[str] | None = option(
        None, "of the benchmark (default: those of packs)", metavar="CODE"
    )
    text_columns: list[str] = option(
        ["text"], "one or two columns of text, by name or number from 1", metavar="COLUMN"
    )
    label_column: str = option("label", "column of the label", metavar="COLUMN")
    labels: Path | None = labels()
    unknown_tags: str = option(
        UNKNOWN_TAGS[0],
        "tags: where the data has some that the body does not know, refuse the data, count them as "
        "mistakes, or read entities of these types as outside of any",
        choices=UNKNOWN_TAGS,
    )
    metric: str | None = option(
        None,
        "questions: whose rules compare answers (default: the benchmark's own, or squad)",
        choices=("squad", "mlqa"),
    )
    max_answer: int = option(MAX_ANSWER, "questions: tokens of the longest answer", at_least=1)
    max_length: int | None = recorded_window("max_length")
    stride: int | None = recorded_window("stride")
    max_question: int | None = recorded_window("max_question")
    bad_offsets: str = bad_offsets()
    max_tokens: int = max_tokens()
    device: str | None = device()
    bfloat16: bool = bfloat16()
    output: Path | None = json_file()


@dataclass(frozen=True, kw_only=True)
class RetrieveOptions:
    body: Path = body()
    source_pack: Path = option(REQUIRED, "pack of English", metavar="PACK")
    packs: list[Path] = option(
        REQUIRED,
        "pack of another language; repeat it for more languages",
        name="pack",
        metavar="PACK",
        action="append",
    )
    data: Path | None = option(
        None, "Tatoeba as LASER publishes it", metavar="FOLDER", group="data, required"
    )
    parallel: tuple[Path, Path] | None = option(
        None,
        "sentences in the language of --source-pack and their translations, line by line, which are "
        "the test of every --pack",
        metavar=("SOURCE", "TARGET"),
        group="data, required",
    )
    layer: int | None = option(
        None,
        "compare the hidden states after this layer, from 1; 0: the embeddings (default: the one "
        "above the middle, 7 of 12; of bodies made for sentence vectors what their settings say)",
        metavar="K",
        at_least=0,
    )
    similarities: list[str] = option(
        list(SIMILARITIES),
        "by which the nearest sentence is found (default: both, side by side)",
        name="similarity",
        choices=SIMILARITIES,
    )
    neighbours: int = option(10, "of CSLS", at_least=1)
    max_tokens: int = max_tokens()
    device: str | None = device()
    bfloat16: bool = bfloat16()
    output: Path | None = json_file()


@dataclass(frozen=True, kw_only=True)
class PerplexityOptions:
    body: Path = body("pretrained checkpoint")
    tests: list[tuple[str, str]] = option(
        REQUIRED,
        "a language pack and text in its language, one sentence or document per line, or JSON Lines, "
        "perhaps compressed (gzip, xz, zstd, bzip2); repeat it for more languages",
        name="pack",
        metavar=("PACK", "TEXT"),
    )
    field: str = option("text", "JSON Lines: the key that holds the text", metavar="KEY")
    depth: int | None = option(
        None, "measure the MLM head after this layer (default: the last)", at_least=1
    )
    seed: int = option(1, "of the masks", at_least=0)
    max_tokens: int = max_tokens()
    device: str | None = device()
    bfloat16: bool = bfloat16()
    output: Path | None = json_file()
