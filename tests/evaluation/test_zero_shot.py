"""`evaluate` on a benchmark: many languages and bodies in one call, resumed where it stopped."""

import json
import os
import shutil

import pytest
from evaluation.test_classify import (  # fixtures  # noqa: F401
    SOURCE_WORDS,
    TARGET_WORDS,
    fine_tuned,
    minimodel,
    packs,
)

LABELS = ["entailment", "neutral", "contradiction"]
HEADER = ["language", "gold_label", "sentence1", "sentence2"]


@pytest.fixture(scope="module")
def folder(packs, tmp_path_factory):  # noqa: F811
    """Packs of en and de, XNLI's file of both with one row that has no label, and the labels."""
    folder = tmp_path_factory.mktemp("benchmark")
    for name, language in (("source", "en"), ("target", "de")):
        pack = folder / "packs" / language
        shutil.copytree(packs / name, pack)
        about = json.loads((pack / "language.json").read_text())
        (pack / "language.json").write_text(json.dumps({**about, "language": language}))
    rows = [HEADER]
    for language, words in (("en", SOURCE_WORDS), ("de", TARGET_WORDS)):
        for index in range(30):
            texts = (f"{words[index]} {words[index + 1]}", words[index + 2])
            rows.append([language, LABELS[index % 3], *texts])
    rows.append(["de", "-", "wort1", "wort2"])
    (folder / "xnli.dev.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    (folder / "dict.txt").write_text("".join(f"{label} 1\n" for label in LABELS))
    return folder


def evaluate(folder, *bodies, benchmark="xnli", data="xnli.dev.tsv", split="dev", more=()):
    return minimodel(
        "evaluate", "--body", *bodies, "--benchmark", benchmark, "--data", folder / data,
        "--split", split, "--packs", folder / "packs", "--labels", folder / "dict.txt", *more,
    )  # fmt: skip


def test_each_language_is_scored_as_from_a_file(folder, fine_tuned, tmp_path):  # noqa: F811
    result = evaluate(folder, fine_tuned, more=["--json", tmp_path / "scores.json"])
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [(score["language"], score["examples"]) for score in scores] == [("de", 30), ("en", 30)]
    assert [score["left_out"] for score in scores] == [{"unlabelled": 1}, {}]
    assert "de: 1 unlabelled rows" in result.stdout
    lines = (folder / "xnli.dev.tsv").read_text().splitlines()
    for score in scores:
        mine = [line for line in lines[1:] if line[:2] == score["language"] and "\t-\t" not in line]
        file = tmp_path / f"{score['language']}.tsv"
        file.write_text("\n".join([lines[0], *mine]) + "\n")
        minimodel(
            "evaluate", "--body", fine_tuned, "--test", score["pack"], file, "--text-columns",
            "sentence1", "sentence2", "--label-column", "gold_label", "--labels",
            folder / "dict.txt", "--json", tmp_path / "one.json",
        )  # fmt: skip
        assert json.loads((tmp_path / "one.json").read_text())[0]["correct"] == score["correct"]
        (tmp_path / "one.json").unlink()


def test_bodies_stand_side_by_side(folder, fine_tuned, tmp_path):  # noqa: F811
    other = tmp_path / "other.pt"
    shutil.copy(fine_tuned, other)
    result = evaluate(folder, fine_tuned, other, more=["--json", tmp_path / "scores.json"])
    assert result.returncode == 0, result.stderr
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in result.stdout.splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["xnli dev: accuracy (%)", "examples", str(fine_tuned), str(other)]
    assert [row[0] for row in rows[2:]] == ["de", "en", "mean"]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert len(scores) == 4 and rows[2][2] == rows[2][3]
    mean = 100 * (scores[0]["accuracy"] + scores[1]["accuracy"]) / 2
    assert rows[4][2:] == [f"{mean:.1f}"] * 2


def test_what_is_there_is_not_computed_again(folder, fine_tuned, tmp_path):  # noqa: F811
    body, output = tmp_path / "body.pt", tmp_path / "scores.json"
    shutil.copy(fine_tuned, body)
    more = ["--json", output]
    assert evaluate(folder, body, more=more).returncode == 0
    scores = json.loads(output.read_text())
    right = scores[0]["accuracy"]
    scores[0]["accuracy"] = 0.9876
    output.write_text(json.dumps(scores[:1]))  # as if it had stopped after one language
    assert "98.8" in evaluate(folder, body, more=more).stdout
    assert json.loads(output.read_text()) == scores
    os.utime(body, (1, 1))  # another body of that name
    assert evaluate(folder, body, more=more).returncode == 0
    assert json.loads(output.read_text())[0]["accuracy"] == right


def test_scores_in_bfloat16_are_others_and_say_so(folder, fine_tuned, tmp_path):  # noqa: F811
    more = ["--json", tmp_path / "scores.json"]
    assert "bfloat16" not in evaluate(folder, fine_tuned, more=more).stdout
    exact = json.loads((tmp_path / "scores.json").read_text())
    assert "computed in bfloat16" in evaluate(folder, fine_tuned, more=[*more, "--bf16"]).stdout
    rounded = json.loads((tmp_path / "scores.json").read_text())  # in the place of the others
    for one, other in zip(exact, rounded, strict=True):
        assert "bfloat16" not in one and other.pop("bfloat16")
        assert one.pop("inputs") != other.pop("inputs")
        assert abs(one["correct"] - other["correct"]) <= 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"benchmark": "nowhere"}, "no benchmark 'nowhere'"),
        ({"split": "x"}, "no split 'x'"),
        ({"benchmark": "xquad"}, "xquad is not a classification benchmark"),
        ({"data": "absent"}, "absent"),
        ({"more": ["--languages", "sw"]}, "has no pack of the language sw; there is de, en"),
        ({"more": ["--json", "{folder}/dict.txt"]}, "only a file of scores that the same command"),
    ],
)
def test_refusals(arguments, sentence, folder, fine_tuned):  # noqa: F811
    arguments = dict(arguments)
    more = [part.format(folder=folder) for part in arguments.pop("more", [])]
    result = evaluate(folder, fine_tuned, **arguments, more=more)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1 and sentence in result.stderr


@pytest.mark.parametrize("linked", [True, False])
def test_a_pack_without_its_description_is_not_passed_over(folder, fine_tuned, tmp_path, linked):  # noqa: F811
    copy = shutil.copytree(folder / "packs", tmp_path / "packs")
    (copy / "de" / "language.json").unlink()
    if linked:
        (copy / "de" / "language.json").symlink_to("nowhere.json")
    result = minimodel(
        "evaluate", "--body", fine_tuned, "--benchmark", "xnli", "--data", folder, "--split", "dev",
        "--packs", copy,
    )  # fmt: skip
    assert result.returncode == 2 and "packs/de" in result.stderr.strip().splitlines()[-1]


def test_two_packs_of_a_language_are_refused(folder, fine_tuned, tmp_path):  # noqa: F811
    shutil.copytree(folder / "packs", tmp_path / "packs")
    shutil.copytree(folder / "packs" / "de", tmp_path / "packs" / "older" / "de")
    result = minimodel(
        "evaluate", "--body", fine_tuned, "--benchmark", "xnli", "--data", folder, "--split", "dev",
        "--packs", tmp_path / "packs",
    )  # fmt: skip
    assert result.returncode == 2 and "both packs of de" in result.stderr
