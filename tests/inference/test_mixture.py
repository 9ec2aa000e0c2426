"""`predict` and `evaluate` with several packs, and with several task modules, mixed."""

import json

import numpy
import pytest
import torch
from kinds.test_mixture import plain_mix, softmax
from support.bodies import LABELS, sentences, write_module_body

import fairseq_minimodel
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.mixture import load_mixture
from fairseq_minimodel.kinds.mixture import Mixing

TEXTS = [*sentences("de", 7), *sentences("en", 4)]


@pytest.fixture(scope="module")
def both(bodies):
    return [bodies / "packs/de", bodies / "packs/en"]


@pytest.fixture(scope="module")
def modules(bodies, source_data):
    for kind in ("tarp", "lora"):
        write_module_body(bodies, kind, source_data)
    return [bodies / "tarp", bodies / "lora"]


@pytest.fixture
def labelled(tmp_path):
    rows = [f"{text}\t{LABELS[index % 3]}" for index, text in enumerate(TEXTS)]
    path = tmp_path / "test.tsv"
    path.write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return path


def logits_of(model):
    """As the model gives them; of its probabilities the small ones have lost places."""
    [(classifier, speaker)] = model.members()
    logits, _ = classifier.logits(speaker, [(text,) for text in TEXTS])
    return numpy.stack([row.double().numpy() for row in logits])


def wanted(models, steps, together):
    """Mixed by the plain loop, with weights for each so many texts: probabilities, mean weights."""
    logits = numpy.stack([logits_of(model) for model in models])
    parts, weights = [], []
    for start in range(0, len(TEXTS), together):
        mixed, own = plain_mix(logits[:, start : start + together], steps, 10.0)
        parts.append(softmax(mixed))
        weights += [own] * len(mixed)
    return numpy.concatenate(parts), numpy.mean(weights, 0)


def probabilities(found):
    return numpy.array([[one["probabilities"][label] for label in LABELS] for one in found])


@pytest.mark.parametrize(("steps", "together"), [(10, 32), (1, 4), (0, 4)])
def test_packs_are_mixed_as_by_a_plain_loop(steps, together, bodies, both, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n")
    options = ["--mix-steps", str(steps), "--mix-batch", str(together)]
    body, output = bodies / "topics.pt", tmp_path / "out.jsonl"
    code = main(
        ["predict", "--body", str(body), "--pack", str(both[0]), "--mix", str(both[1]), *options,
         "--input", str(tmp_path / "in.txt"), "--output", str(output)]
    )  # fmt: skip
    assert code == 0
    found = [json.loads(line)["prediction"] for line in output.read_text().splitlines()]
    models = [fairseq_minimodel.load(body, pack) for pack in both]
    expected, _ = wanted(models, steps, together)
    numpy.testing.assert_allclose(probabilities(found), expected, atol=2e-5)
    assert [one["label"] for one in found] == [LABELS[place] for place in expected.argmax(1)]
    assert not numpy.allclose(expected, softmax(logits_of(models[0])), atol=1e-2)


def test_modules_are_mixed_by_the_same_rule(bodies, both, modules, labelled, tmp_path, capsys):
    body, scores = bodies / "topics.pt", tmp_path / "scores.json"
    command = [
        "evaluate", "--body", str(body), "--module", str(modules[0]), "--mix", str(modules[1]),
        "--test", str(both[0]), str(labelled), "--json", str(scores),
    ]  # fmt: skip
    assert main(command) == 0
    said = capsys.readouterr().out
    models = [fairseq_minimodel.load(body, both[0], module) for module in modules]
    expected, weights = wanted(models, 10, 32)
    (row,) = json.loads(scores.read_text())
    names = [f"{body} + {module}" for module in modules]
    assert row["body"] == " + ".join(names) and row["language"] == "de"
    assert row["mixture"]["weights"] == pytest.approx(
        dict(zip(names, weights, strict=True)), abs=1e-4
    )
    right = [LABELS[place] for place in expected.argmax(1)] == numpy.resize(LABELS, len(TEXTS))
    assert row["correct"] == right.sum()
    assert "de: mean weights" in said
    mixed = load_mixture(body, both[:1], modules).predict(TEXTS)
    assert [one.label for one in mixed] == [LABELS[place] for place in expected.argmax(1)]


def test_a_score_is_of_what_was_mixed(bodies, both, labelled, tmp_path, capsys):
    scores = tmp_path / "scores.json"

    def evaluate(*options):
        test = ["--test", str(both[0]), str(labelled), "--json", str(scores)]
        assert main(["evaluate", "--body", str(bodies / "topics.pt"), *test, *options]) == 0
        return json.loads(scores.read_text())

    mix = ["--mix", *map(str, both)]  # that of the test among them
    assert [row["language"] for row in evaluate()] == ["de"]
    ten = evaluate(*mix)
    assert [row["language"] for row in ten] == ["de", "de+en"]
    assert ten[1]["pack"] == f"{both[0]} + {both[1]}" and ten[1]["mixture"]["steps"] == 10
    one = evaluate(*mix, "--mix-steps", "1")
    assert len(one) == 2 and one[1]["mixture"]["steps"] == 1
    before = scores.stat().st_mtime_ns
    evaluate(*mix, "--mix-steps", "1")
    assert scores.stat().st_mtime_ns == before  # there already
    alone = load_mixture(bodies / "topics.pt", both, mixing=Mixing(together=1))
    assert len(alone.predict(TEXTS)) == len(TEXTS) and alone.predict([]) == []


@pytest.mark.parametrize(
    ("body", "options", "sentence"),
    [
        ("questions.pt", ["--pack", "packs/de", "--mix", "packs/en"], "needs a body that was fine-"),
        ("topics.pt", ["--pack", "packs/de", "--mix", "label"], "neither a language pack nor a task"),
        ("topics.pt", ["--mix", "packs/en"], "1 language packs and 0 task modules cannot be mixed"),
        ("topics.pt", ["--pack", "packs/de", "--mix", "packs/de"], "mixed with itself"),
        ("topics.pt", ["--pack", "packs/de", "--mix", "packs/en", "tarp", "lora"],
         "2 language packs and 2 task modules cannot be mixed"),
    ],
)  # fmt: skip
def test_what_cannot_be_mixed_is_refused(
    body,
    options,
    sentence,
    bodies,
    modules,
    monkeypatch,
    tmp_path,
    capsys,
):
    monkeypatch.chdir(bodies)
    (tmp_path / "in.txt").write_text("wort1\n")
    code = main(["predict", "--body", body, *options, "--input", str(tmp_path / "in.txt")])
    assert code == 2 and sentence in capsys.readouterr().err


def test_gradients_are_on_where_predictions_have_none(bodies, both):
    with torch.no_grad():
        mixed = load_mixture(bodies / "topics.pt", both, mixing=Mixing(steps=1)).predict(TEXTS)
    assert len(mixed) == len(TEXTS)
