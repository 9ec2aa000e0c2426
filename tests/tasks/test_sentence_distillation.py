"""Distillation of sentence vectors by the real command: what is frozen, resumed, and kept."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch
from conftest import OPTIMISER, USER_DIR, run, state_of, train
from recipes.test_training import free_port
from support.bodies import sentences

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_BIAS, OUTPUT_PROJECTION
from fairseq_minimodel.bodies.training_files import symbols_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model

POOLING = ["--sentence-pooling", "mean", "--sentence-normalise"]
NO_DROPOUT = ["--dropout", "0", "--attention-dropout", "0"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """English sentences, and word by word the same in German; in train and valid."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, count, seed in (("train", 40, 1), ("valid", 12, 2)):
        english = sentences("en", count, seed)
        german = [text.replace("word", "wort") for text in english]
        for name, lines in (("en", english), ("de", german)):
            (folder / f"{split}.{name}").write_text("\n".join(lines) + "\n")
    return folder


def command(pairs, base, *options):
    files = [
        word
        for option, split in (("--pairs", "train"), ("--valid-pairs", "valid"))
        for word in (option, pairs / f"{split}.en", pairs / f"{split}.de")
    ]
    return [
        "--task", "sentence_distillation", "--criterion", "sentence_distillation", "--arch",
        "minimodel_roberta", "--base-checkpoint", base, *files, *POOLING, *NO_DROPOUT,
        "--weight-decay", "0", "--required-batch-size-multiple", "1", *options,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def distilled(pairs, joint_checkpoint, target_data, tmp_path_factory):
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("distilled")
    options = ("--contrastive-weight", "0.5", "--max-update", "10")
    return folder, train(target_data, folder, *command(pairs, joint_checkpoint, *options))


def test_nothing_but_the_token_embeddings_is_trained(distilled, joint_checkpoint):
    folder, log = distilled
    state, base = state_of(folder / "checkpoint_last.pt"), state_of(joint_checkpoint)
    language = (EMBEDDING, OUTPUT_PROJECTION, OUTPUT_BIAS)
    for name, tensor in state.items():
        if name not in (*language, "encoder.vocabulary"):
            assert torch.equal(tensor, base[name]), name
    assert torch.equal(state[EMBEDDING], state[OUTPUT_PROJECTION])
    assert "rows are translations" in log or "aligned" in log
    for figure in ("train_distance", "train_contrastive", "train_found", "train_flops"):
        assert f'"{figure}"' in log
    settings = read_checkpoint(folder / "checkpoint_last.pt").sentence_settings()
    assert settings["sentence_pooling"] == "mean" and settings["sentence_normalise"]


def test_the_start_is_changed_and_its_output_bias_is_not(
    distilled, pairs, joint_checkpoint, target_data, tmp_path
):
    options = ("--lr", "0", "--max-update", "1")
    train(target_data, tmp_path, *command(pairs, joint_checkpoint, *options))
    start, state = (state_of(folder / "checkpoint_last.pt") for folder in (tmp_path, distilled[0]))
    assert torch.equal(start[OUTPUT_BIAS], state[OUTPUT_BIAS])
    changed = (start[EMBEDDING] != state[EMBEDDING]).any(dim=1)
    assert changed[4:].sum() > 40 and not changed[1]  # nothing is padding


def test_the_teachers_vectors_are_those_of_the_body_in_the_source_language(
    distilled, pairs, joint_checkpoint
):
    base = read_checkpoint(joint_checkpoint)
    model = build_model(base.replaced(base.state, sentence_pooling="mean"), symbols_of(base))
    kept = safetensors.torch.load_file(distilled[0] / "teacher.valid.safetensors")["vectors"]
    texts = (pairs / "valid.en").read_text().splitlines()
    for text, vector in zip(texts, kept, strict=True):
        ids = torch.tensor([[0, *(4 + int(word[4:]) for word in text.split()), 2]])
        with torch.no_grad():
            hidden = model(ids, features_only=True)[0][0]
        mean = hidden.mean(dim=0)
        torch.testing.assert_close(vector, mean / mean.norm())


def test_a_word_list_alone_and_beside_pairs(pairs, joint_checkpoint, target_data, tmp_path):
    """Its entries are pairs like others, for the training and for the start."""
    numbers = [*range(70)] * 3  # seen so often, each word has a row of the start
    sides = [f"word{one % 60}" for one in numbers], [f"wort{one}" for one in numbers]
    words = tmp_path / "words.tsv"
    words.write_text("".join(map("{}\t{}\n".format, *sides)) + "word1\t\n")
    for name, lines in zip(("en", "de"), sides, strict=True):
        (tmp_path / f"words.{name}").write_text("\n".join(lines) + "\n")
    as_lines = [tmp_path / f"words.{name}" for name in ("en", "de")]
    whole = [str(word) for word in command(pairs, joint_checkpoint, "--max-update", "4")]
    place = whole.index("--pairs")
    without = whole[:place] + whole[place + 3 :]
    states = []
    for name, words_of_command in (
        ("lines", [*without, "--pairs", *as_lines, "--dictionary", words]),
        ("list", [*without, "--word-pairs", words]),
        ("both", [*whole, "--word-pairs", words]),
    ):
        log = train(target_data, tmp_path / name, *words_of_command)
        assert f"train: {250 if name == 'both' else 210} pairs" in log
        states.append(state_of(tmp_path / name / "checkpoint_last.pt")[EMBEDDING])
    assert torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])


@pytest.mark.slow
def test_it_resumes_by_bits_without_its_teacher(
    distilled, pairs, joint_checkpoint, target_data, tmp_path
):
    base, folder = tmp_path / "base.pt", tmp_path / "run"
    shutil.copyfile(joint_checkpoint, base)
    for name in ("dict.txt", "sentencepiece.bpe.model"):
        shutil.copyfile(joint_checkpoint.parent / name, tmp_path / name)
    options = ("--contrastive-weight", "0.5")
    train(target_data, folder, *command(pairs, base, *options, "--max-update", "7"))
    base.unlink()
    log = train(target_data, folder, *command(pairs, base, *options, "--max-update", "10"))
    assert "@ 7 updates" in log
    whole = state_of(distilled[0] / "checkpoint_last.pt")
    for name, tensor in state_of(folder / "checkpoint_last.pt").items():
        assert torch.equal(tensor, whole[name]), name
    (folder / "teacher.train.safetensors").unlink()
    result = run(["fairseq-train", target_data, "--user-dir", USER_DIR, "--save-dir", folder,
                  *OPTIMISER, *command(pairs, base), "--max-update", "11"])  # fmt: skip
    assert result.returncode == 2 and "no vectors to learn from" in result.stderr


def test_from_a_pack_of_the_source_language_and_a_start_inside(
    distilled, pairs, joint_checkpoint, source_data, target_data, tmp_path
):
    """As `adapt` runs it: the same rows, the same teacher, so the same run."""
    for words in (
        ["pack", "--checkpoint", joint_checkpoint, "--language", "en", "--output", "en"],
        ["start", "--body", joint_checkpoint, "--data", target_data, "--language", "de",
         "--initialise", "aligned", "--parallel", pairs / "train.en", pairs / "train.de",
         "--seed", 3, "--output", "de"],
        ["plug", "--body", joint_checkpoint, "--pack", "de", "--output", "started"],
    ):  # fmt: skip
        words[-1] = tmp_path / words[-1]
        if words[0] == "plug":
            words[4] = tmp_path / words[4]
        assert main(list(map(str, words))) == 0
    options = ("--contrastive-weight", "0.5", "--max-update", "10", "--source-pack", tmp_path / "en",
               "--initialise", "overlap")  # fmt: skip
    train(target_data, tmp_path / "run", *command(pairs, tmp_path / "started/model.pt", *options))
    whole = state_of(distilled[0] / "checkpoint_last.pt")
    assert torch.equal(state_of(tmp_path / "run/checkpoint_last.pt")[EMBEDDING], whole[EMBEDDING])


def test_another_teacher_is_not_taken_for_the_former(distilled, pairs, joint_checkpoint, tmp_path):
    """Kept vectors are of the same body, texts and settings."""
    from fairseq_minimodel.tasks.sentence_distillation import Teacher, _read_kept

    kept = distilled[0] / "teacher.valid.safetensors"
    base = read_checkpoint(joint_checkpoint)
    texts, settings = (pairs / "valid.en").read_text().splitlines(), ["mean", True, 32]
    teacher = Teacher(base, symbols_of(base), None)
    assert _read_kept(kept, teacher.key(texts, settings)) is not None
    assert _read_kept(kept, teacher.key(texts[1:], settings)) is None
    assert _read_kept(kept, teacher.key(texts, ["cls", True, 32])) is None
    other = base.replaced({**base.state, EMBEDDING: base.state[EMBEDDING] + 1})
    assert _read_kept(kept, Teacher(other, teacher.symbols, None).key(texts, settings)) is None


@pytest.mark.slow
def test_bfloat16_and_two_processes(pairs, joint_checkpoint, target_data, tmp_path):
    """Both compute the teacher once, and end with one model."""
    port = free_port()
    commands = [
        ["fairseq-train", target_data, "--user-dir", USER_DIR, "--save-dir", tmp_path, *OPTIMISER,
         *command(pairs, joint_checkpoint, "--bf16", "--body-precision", "bfloat16"),
         "--max-update", "4", "--no-epoch-checkpoints", "--batch-size", "5",
         "--distributed-world-size", "2", "--distributed-rank", str(rank), "--distributed-no-spawn",
         "--distributed-init-method", f"tcp://localhost:{port}", "--distributed-backend", "gloo",
         "--ddp-backend", "legacy_ddp"]
        for rank in range(2)
    ]  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, commands))
    logs = [result.stdout + result.stderr for result in results]
    assert all(result.returncode == 0 for result in results), logs[0][-3000:] + logs[1][-3000:]
    state, base = state_of(tmp_path / "checkpoint_last.pt"), state_of(joint_checkpoint)
    for name, tensor in state.items():
        if name not in (EMBEDDING, OUTPUT_PROJECTION, OUTPUT_BIAS, "encoder.vocabulary"):
            assert torch.equal(tensor, base[name]), name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--sentence-pooling": "none"}, "give --sentence-pooling mean"),
        ({"--base-checkpoint": "absent.pt"}, "no checkpoint absent.pt"),
        ({"--valid-pairs": None}, "no pairs for the split valid"),
        ({"--pairs": None}, "give --pairs SOURCE TARGET, --word-pairs FILE, or both"),
        ({"--word-pairs": "absent.tsv"}, "absent.tsv"),
        ({"--source-pack": "absent"}, "absent is not a language pack"),
        ({"--depth": "2"}, "--depth"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    changes, sentence, pairs, joint_checkpoint, target_data, tmp_path
):
    words = [str(word) for word in command(pairs, joint_checkpoint, "--max-update", "1")]
    for name, value in changes.items():
        if name in words:
            place = words.index(name)
            del words[place : place + (2 if value else 3)]
        words += [name, value] if value else []
    result = run(["fairseq-train", target_data, "--user-dir", USER_DIR, "--save-dir",
                  tmp_path / "run", *OPTIMISER, *words])  # fmt: skip
    assert result.returncode == 2, result.stderr[-2000:]
    assert sentence in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("run/*.pt"))
