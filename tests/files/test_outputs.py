"""What every verb does with what stands at its output, and with a disk that refuses it."""

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import SMALL_MODEL, run, train, write_pairs

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.indexed import shards_in
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.evaluation.evaluate import _packs_below
from fairseq_minimodel.report.gather import gather
from fairseq_minimodel.terminal.text import PlainStream

WORDS = [f"word{index}" for index in range(60)]
NOWHERE = "/nowhere"
# The options of each verb but for its output, with inputs that are not there.
FOLDER_VERBS = {
    "pack": ["--checkpoint", NOWHERE, "--language", "en"],
    "plug": ["--body", NOWHERE, "--pack", NOWHERE],
    "module": ["--checkpoint", NOWHERE],
    "import-hf": ["--model", NOWHERE, "--language", "en"],
    "export-hf": ["--body", NOWHERE, "--pack", NOWHERE],
    "prepare-classification": [
        "--train", NOWHERE, "--valid", NOWHERE, "--text-columns", "1", "--label-column", "2",
        "--sentencepiece-model", NOWHERE, "--dict", NOWHERE,
    ],
    "prepare-questions": [
        "--train", NOWHERE, "--valid", NOWHERE, "--sentencepiece-model", NOWHERE, "--dict", NOWHERE,
    ],
    "start": ["--body", NOWHERE, "--data", NOWHERE, "--language", "de"],
    "split-pairs": ["--parallel", NOWHERE, NOWHERE],
    "toy": ["--sentences", "100"],
}  # fmt: skip
# Its unfinished output goes on, and nothing of another verb is replaced.
ADAPT = {"adapt": ["--model", NOWHERE, "--text", NOWHERE, "--language", "de"]}
FILE_VERBS = {
    "truncate": ["--body", NOWHERE, "--depth", "1", "--output"],
    "extend": ["--body", NOWHERE, "--depth", "1", "--output"],
    "merge": ["--body", NOWHERE, "--module", NOWHERE, "--output"],
    "evaluate": ["--body", NOWHERE, "--test", NOWHERE, NOWHERE, "--json"],
    "perplexity": ["--body", NOWHERE, "--pack", NOWHERE, NOWHERE, "--json"],
    "retrieve": [
        "--body", NOWHERE, "--source-pack", NOWHERE, "--pack", NOWHERE, "--data", NOWHERE, "--json",
    ],
    "predict": ["--body", NOWHERE, "--input", NOWHERE, "--output"],
    "flops": ["--json"],
    "inspect": [NOWHERE, "--json"],
    "structure": ["--module", NOWHERE, "--drawing"],
    "report": [NOWHERE, "--output"],
    "export-benchmark": ["--benchmark", "sib200", "--data", NOWHERE, "--output"],
}  # fmt: skip
VERBS = FOLDER_VERBS | FILE_VERBS


def command(verb, output):
    if options := (FOLDER_VERBS | ADAPT).get(verb):
        return [verb, *options, "--output", str(output)]
    return [verb, *FILE_VERBS[verb], str(output)]


def name_of(verb):
    return "out.jsonl" if verb == "export-benchmark" else "out"


def contents(folder):
    """All paths below a folder, with what the files hold and where the links lead."""
    return {
        str(path.relative_to(folder)): (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else path.stat().st_ino
        )
        for path in folder.rglob("*")
    }


def refuse(capsys, arguments, *words):
    """The verb ends with 2 and one sentence, which has the words."""
    try:
        code = main(list(map(str, arguments)))
    except SystemExit as stop:  # argparse
        code = stop.code
    printed = capsys.readouterr().err
    assert code == 2, printed
    [sentence] = [line for line in printed.splitlines() if line.startswith("fairseq-minimodel")]
    assert "Traceback" not in printed
    for word in words:
        assert str(word) in sentence
    return sentence


# ---- what stands there


@pytest.mark.parametrize("verb", [*FOLDER_VERBS, *ADAPT])
@pytest.mark.parametrize("what", ["packs", "checkpoints", "file", "link", "link to nothing"])
def test_what_is_no_output_of_the_verb_stays(verb, what, tmp_path, capsys):
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    if what == "packs":
        (output / "de").mkdir(parents=True)
        (output / "de/language.json").write_text("{}")
        said = "holds de"
    elif what == "checkpoints":
        output.mkdir()
        (output / "checkpoint_last.pt").write_bytes(b"weeks of work")
        said = "holds checkpoint_last.pt"
    elif what == "file":
        output.write_text("mine")
        said = "is not a folder"
    else:
        if what == "link":
            elsewhere.mkdir()
        output.symlink_to(elsewhere)
        said = "is a link"
    before = contents(tmp_path)
    refuse(capsys, command(verb, output), output, said)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("verb", FILE_VERBS)
@pytest.mark.parametrize("what", ["folder", "file", "link", "link to nothing", "pipe"])
def test_what_is_no_file_of_the_verb_stays(verb, what, tmp_path, capsys):
    output, elsewhere = tmp_path / name_of(verb), tmp_path / "elsewhere"
    if what == "folder":
        output.mkdir()
    elif what == "file":
        output.write_text("mine")
    elif what == "pipe":
        os.mkfifo(output)
    else:
        if what == "link":
            elsewhere.write_text("mine")
        output.symlink_to(elsewhere)
    before = contents(tmp_path) if what != "pipe" else None
    refuse(capsys, command(verb, output), output)
    if before:
        assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("verb", [*VERBS, *ADAPT])
@pytest.mark.parametrize("what", ["below a file", "too long", "link to itself", ".", "..", "/"])
def test_paths_where_nothing_can_be_written(verb, what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    output = {
        "below a file": tmp_path / "file" / name_of(verb),
        "too long": tmp_path / ("n" * 300 + name_of(verb)),
        "link to itself": tmp_path / "loop" / name_of(verb),
    }.get(what, what)
    before = contents(tmp_path)
    refuse(capsys, command(verb, output))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("verb", [*VERBS, *ADAPT])
def test_a_folder_without_the_right_to_write(verb, tmp_path, capsys, monkeypatch):
    """Root may write everywhere, so it is said that nobody may."""
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    refuse(capsys, command(verb, tmp_path / name_of(verb)), tmp_path, "no right to write")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", [*VERBS, *ADAPT, "prepare"])
@pytest.mark.parametrize("value", ["", "a\0b"])
def test_no_path_at_all(verb, value, capsys):
    prepare = ["prepare", "--text", "x", "--output", value]
    arguments = prepare if verb == "prepare" else command(verb, value)
    sentence = refuse(capsys, arguments)
    assert ("is empty" if value == "" else "NUL byte") in sentence
    if value == "":
        assert "--output" in sentence or "--json" in sentence or "--drawing" in sentence


def test_an_option_without_its_value(capsys):
    refuse(capsys, ["toy", "--output="], "--output is empty: is a variable of your shell not set?")


# ---- every verb, with inputs that are there


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with all that verbs read: data, models, packs, modules, texts."""
    folder = tmp_path_factory.mktemp("inputs")
    lines = [" ".join(WORDS[n % 50 : n % 50 + 6] + WORDS[n % 7 : n % 7 + 2]) for n in range(300)]
    (folder / "raw.txt").write_text("\n".join(lines) + "\n")
    (folder / "masks.txt").write_text("word1 <mask> word2\n" * 3)
    write_pairs(folder / "train.tsv", WORDS, seed=1)
    vocabulary = ["--dict", folder / "data/dict.txt"]
    vocabulary += ["--sentencepiece-model", folder / "data/sentencepiece.bpe.model"]
    for arguments in (
        ["prepare", "--text", folder / "raw.txt", "--output", folder / "data", "--workers", "1",
         "--vocabulary-size", "40", "--character-coverage", "1", "--document-per-line",
         "--valid-fraction", "0.3"],
        ["prepare-classification", "--train", folder / "train.tsv", "--valid", folder / "train.tsv",
         "--text-columns", "premise", "hypothesis", "--label-column", "label", *vocabulary,
         "--output", folder / "pair-data"],
    ):  # fmt: skip
        minimodel(*arguments)
    mlm = [
        "--task",
        "masked_lm",
        "--criterion",
        "joint_masked_lm",
        "--sample-break-mode",
        "complete",
    ]
    mlm += [*SMALL_MODEL, "--tokens-per-sample", "256", "--max-update", "1"]
    train(folder / "data", folder / "joint", *mlm, "--auxiliary-head-layers", "2")
    shutil.move(folder / "joint/checkpoint_last.pt", folder / "body.pt")
    over = ["--finetune-from-model", folder / "body.pt"]
    train(folder / "data", folder / "tams", *mlm, "--task-module", "tams", *over)
    train(
        folder / "pair-data", folder / "pairs", "--task", "sentence_prediction", "--criterion",
        "sentence_prediction", "--num-classes", "3", "--init-token", "0", "--separator-token", "2",
        "--max-positions", "256", *SMALL_MODEL, "--task-module", "lora", *over, "--max-update", "1",
    )  # fmt: skip
    question = {"id": "1", "question": "word2", "answers": [{"text": "word1", "answer_start": 0}]}
    paragraphs = [{"context": "word1 word3", "qas": [question]}]
    (folder / "questions.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    sib = folder / "sib200" / "eng_Latn"
    sib.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        rows = "".join(f"{n}\ttravel\t{' '.join(WORDS[n : n + 3])}\n" for n in range(9))
        (sib / f"{split}.tsv").write_text(f"index_id\tcategory\ttext\n{rows}")
    (folder / "tatoeba").mkdir()
    for end in ("deu", "eng"):
        text = "".join(f"{' '.join(WORDS[n : n + 3])}\n" for n in range(20))
        (folder / "tatoeba" / f"tatoeba.deu-eng.{end}").write_text(text)
    for arguments in (
        ["pack", "--checkpoint", folder / "body.pt", "--language", "de", "--output",
         folder / "packs/de"],
        ["pack", "--checkpoint", folder / "body.pt", "--language", "en", "--output",
         folder / "packs/en"],
        ["module", "--checkpoint", folder / "pairs/checkpoint_last.pt", "--output",
         folder / "lora"],
        ["module", "--checkpoint", folder / "tams/checkpoint_last.pt", "--output",
         folder / "tams-module"],
        ["export-hf", "--body", folder / "body.pt", "--pack", folder / "packs/en", "--output",
         folder / "hf"],
    ):  # fmt: skip
        minimodel(*arguments)
    return folder


def minimodel(*arguments):
    result = run(["fairseq-minimodel", *arguments])
    assert result.returncode == 0, result.stderr


def whole_command(verb, inputs, output):
    """The verb's command with sound inputs."""
    body, packs = inputs / "body.pt", inputs / "packs"
    vocabulary = ["--dict", inputs / "data/dict.txt"]
    vocabulary += ["--sentencepiece-model", inputs / "data/sentencepiece.bpe.model"]
    pairs = ["--text-columns", "premise", "hypothesis", "--label-column", "label"]
    options = {
        "pack": ["--checkpoint", body, "--language", "en"],
        "plug": ["--body", body, "--pack", packs / "en"],
        "module": ["--checkpoint", inputs / "pairs/checkpoint_last.pt"],
        "import-hf": ["--model", inputs / "hf", "--language", "en"],
        "export-hf": ["--body", body, "--pack", packs / "en"],
        "prepare-classification": [
            "--train", inputs / "train.tsv", "--valid", inputs / "train.tsv", *pairs, *vocabulary,
        ],
        "prepare-questions": [
            "--train", inputs / "questions.json", "--valid", inputs / "questions.json", *vocabulary,
        ],
        "start": ["--body", body, "--data", inputs / "data", "--language", "de"],
        "split-pairs": ["--parallel", inputs / "raw.txt", inputs / "raw.txt", "--test", "20"],
        "toy": ["--sentences", "100"],
        "truncate": ["--body", body, "--depth", "2"],
        "extend": ["--body", body, "--depth", "2", "--new-layers", "1"],
        "merge": ["--body", body, "--module", inputs / "lora"],
        "evaluate": [
            "--body", body, "--module", inputs / "lora", "--test", packs / "en",
            inputs / "train.tsv", *pairs,
        ],
        "perplexity": ["--body", body, "--pack", packs / "en", inputs / "raw.txt"],
        "retrieve": [
            "--body", body, "--source-pack", packs / "en", "--pack", packs / "de", "--data",
            inputs / "tatoeba", "--neighbours", "3",
        ],
        "predict": ["--body", body, "--input", inputs / "masks.txt"],
        "flops": [],
        "inspect": [packs / "en"],
        "structure": ["--module", inputs / "tams-module"],
        "report": [packs],
        "export-benchmark": [
            "--benchmark", "sib200", "--data", inputs / "sib200", "--language", "en",
        ],
    }[verb]  # fmt: skip
    given = FILE_VERBS[verb][-1] if verb in FILE_VERBS else "--output"
    return [str(part) for part in (verb, *options, given, output)]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_former_output_is_replaced_and_a_line_says_so(verb, inputs, tmp_path):
    output = tmp_path / name_of(verb)
    arguments = ["fairseq-minimodel", *whole_command(verb, inputs, output)]
    results = [run(arguments) for _ in range(2)]
    assert [result.returncode for result in results] == [0, 0], results[-1].stderr
    first, second = (f"{output}: replaced" in result.stderr for result in results)
    # evaluate adds to its scores, which are there already
    assert not first and second == (verb != "evaluate"), results[-1].stderr
    left = {path.name for path in tmp_path.iterdir()} - {"out_files"}
    assert left == {output.name}


def test_an_input_is_not_replaced_by_the_output(inputs, tmp_path, capsys):
    truncated, predicted = tmp_path / "mini.pt", tmp_path / "predicted.jsonl"
    minimodel(*whole_command("truncate", inputs, truncated))
    minimodel(*whole_command("predict", inputs, predicted))
    helper = shutil.copytree(inputs / "packs/de", tmp_path / "de")
    for arguments in (
        [*whole_command("start", inputs, helper), "--initialise", "clp", "--helper", helper],
        ["truncate", "--body", truncated, "--depth", "1", "--output", truncated],
        ["predict", "--body", inputs / "body.pt", "--input", predicted, "--output", predicted],
    ):
        before = contents(tmp_path)
        refuse(capsys, arguments, "is read, and", "would replace it")
        assert contents(tmp_path) == before


@pytest.mark.parametrize("verb", ["truncate", "extend", "merge"])
def test_the_checkpoint_of_a_training_run_is_not_replaced(verb, inputs, tmp_path, capsys):
    output = tmp_path / "checkpoint_last.pt"
    shutil.copy(inputs / "tams/checkpoint_last.pt", output)
    before = contents(tmp_path)
    refuse(capsys, whole_command(verb, inputs, output), output, "is there already")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("verb", ["plug", "import-hf", "export-hf"])
def test_a_model_of_somebody_else_is_not_replaced(verb, inputs, tmp_path, capsys):
    """It has the same names of files: a released model of fairseq, one of the Hub."""
    output = tmp_path / "xlmr"
    minimodel(*whole_command(verb, inputs, output))
    if verb == "export-hf":
        (output / "README.md").write_text("# XLM-R")
    else:
        name = {"plug": "model.pt", "import-hf": "body.pt"}[verb]
        shutil.copy(inputs / "tams/checkpoint_last.pt", output / name)
    before = contents(tmp_path)
    refuse(capsys, whole_command(verb, inputs, output), output, "wrote is replaced")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("verb", FOLDER_VERBS)
@pytest.mark.parametrize("what", ["file", "folder", "link"])
@pytest.mark.slow
def test_what_the_user_has_put_into_a_former_output_stays(verb, what, inputs, tmp_path, capsys):
    output = tmp_path / "out"
    minimodel(*whole_command(verb, inputs, output))
    mine = output / "mine"
    if what == "file":
        mine.write_text("notes")
    elif what == "folder":
        mine.mkdir()
    else:
        mine.symlink_to(tmp_path)
    before = contents(output)
    refuse(capsys, command(verb, output), f"the folder {output} holds mine: only")
    assert contents(output) == before


def test_packs_of_checkpoints_with_one_name_are_refused(tmp_path, capsys):
    checkpoints = [tmp_path / name / "checkpoint_last.pt" for name in ("de", "sw")]
    refuse(
        capsys,
        ["pack", "--checkpoint", *checkpoints, "--language", "x", "--output", tmp_path / "packs"],
        "several checkpoints are called checkpoint_last.pt",
    )
    assert list(tmp_path.iterdir()) == []


# ---- unfinished folders, and several processes


def test_unfinished_folders_are_no_packs(inputs, tmp_path):
    """A killed `pack` has left one."""
    shutil.copytree(inputs / "packs", tmp_path / "packs")
    shutil.copytree(inputs / "packs/de", tmp_path / "packs/.de.abcdefgh.partial")
    assert sorted(_packs_below(tmp_path / "packs")) == ["de", "en"]
    [run] = gather([tmp_path / "packs"])
    assert len(run.packs) == 2


def test_unfinished_folders_are_no_shards(inputs, tmp_path):
    for name in ("shard00", ".shard01.abcdefgh.partial"):
        shutil.copytree(inputs / "data", tmp_path / name)
    assert shards_in(tmp_path) == [tmp_path / "shard00"]


def test_two_evaluations_write_to_one_file(inputs, tmp_path):
    """Each keeps the scores of the other, whatever comes first."""
    output = tmp_path / "scores.json"
    commands = [whole_command("evaluate", inputs, output) for _ in range(2)]
    place = commands[1].index(str(inputs / "packs/en"))
    commands[1][place] = str(inputs / "packs/de")
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda words: run(["fairseq-minimodel", *words]), commands))
    assert [result.returncode for result in results] == [0, 0], results[0].stderr
    rows = json.loads(output.read_text())
    assert {row["language"] for row in rows} == {"de", "en"} and len(rows) == 2
    minimodel(*commands[0])
    assert json.loads(output.read_text()) == rows
    assert list(tmp_path.iterdir()) == [output]


@contextmanager
def files_of_at_most(size):
    """A write beyond that is refused, as on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_takes_no_more(verb, inputs, tmp_path, capsys):
    output = tmp_path / name_of(verb)
    with files_of_at_most(10):
        sentence = refuse(capsys, whole_command(verb, inputs, output), "cannot write", tmp_path)
    assert "file too large" in sentence
    assert {path.name for path in tmp_path.iterdir()} <= {"out_files"}


def test_a_full_disk_behind_standard_output():
    with open("/dev/full", "w") as full:
        program = Path(sys.executable).with_name("fairseq-minimodel")
        result = subprocess.run(
            [program, "flops"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "no space left on device" in result.stderr


# ---- what is printed


def test_nothing_that_is_printed_moves_the_cursor(inputs, tmp_path):
    """Names of languages, labels and paths come from files that others have made."""
    evil = "de\x1b[2J\x1b]0;title\x07\x9b31m"
    packs = tmp_path / f"packs{evil}"
    shutil.copytree(inputs / "packs/en", packs)
    about = json.loads((packs / "language.json").read_text())
    (packs / "language.json").write_text(json.dumps({**about, "language": evil}))
    for arguments, code in (
        (["inspect", packs], 0),
        (["inspect", packs, "--json", "-"], 0),
        (["inspect", packs / "absent"], 2),
        (["perplexity", "--body", inputs / "body.pt", "--pack", packs, inputs / "raw.txt"], 0),
        (["plug", "--body", inputs / "body.pt", "--pack", packs, "--output", tmp_path / evil], 0),
        (["plug", "--body", inputs / "body.pt", "--pack", packs, "--output", tmp_path / evil], 0),
        (["plug", "--body", inputs / "body.pt", "--pack", inputs, "--output", packs], 2),
        (["pack", "--checkpoint", inputs / "body.pt", "--language", evil, "--output",
          tmp_path / "x"], 2),
    ):  # fmt: skip
        result = run(["fairseq-minimodel", *arguments])
        assert result.returncode == code, result.stderr
        printed = result.stdout + result.stderr
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed), printed
        assert "\\x1b[2J" in printed or "\\u001b[2J" in printed
    result = run(["fairseq-minimodel", "inspect", packs, "--json", "-"])
    assert json.loads(result.stdout)[0]["path"] == str(packs)


def test_errors_of_fairseq_s_own_commands_are_plain_too():
    assert str(InputError("no pack de\x1b[2J\udc80")) == "no pack de\\u001b[2J\\udc80"


def test_letters_that_the_terminal_does_not_have_are_spelt_out(inputs, tmp_path):
    shutil.copytree(inputs / "packs/en", tmp_path / "தமிழ்😀")
    program = Path(sys.executable).with_name("fairseq-minimodel")
    result = subprocess.run(
        [program, "inspect", tmp_path / "தமிழ்😀", "--json", "-"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["path"] == str(tmp_path / "தமிழ்😀")


def test_progress_bars_still_move():
    stream = io.StringIO()
    plain = PlainStream(stream)
    for text in ("\rhalf", "\x1b[A", "evil\x1b[A", "line\n"):
        plain.write(text)
    assert stream.getvalue() == "\rhalf\x1b[Aevil\\u001b[Aline\n"
