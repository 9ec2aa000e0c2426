"""Tags from Python and by `predict` and `evaluate`, with bodies whose heads are random."""

import io
import json
import sys

import numpy
import pytest
import torch
from evaluation.test_zero_shot_questions import write_pack
from support.generated_tags import ENTITIES, PARTS, in_json_lines, write_columns, write_tagger

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.language_side import language_side_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.tag_metrics import entities
from fairseq_minimodel.kinds.tagged import Sentence
from fairseq_minimodel.kinds.tags import Tagger

WORDS = [f"word{index}" for index in range(60)]


@pytest.fixture(scope="module")
def folder(joint_checkpoint, source_data, tmp_path_factory):
    """entities/ and parts/ with body.pt each, packs/en, test.txt of entities, parts.txt."""
    folder = tmp_path_factory.mktemp("tags")
    for name, labels, seed in (("entities", ENTITIES, 1), ("parts", PARTS, 2)):
        write_tagger(folder / name, joint_checkpoint, labels, seed)
        write_columns(folder / f"{name}.txt", WORDS, seed, 30, labels)
    base = read_checkpoint(joint_checkpoint)
    write_pack(folder / "packs/en", base, "en", language_side_of(base.state), source_data)
    return folder


def load(folder, name):
    return fairseq_minimodel.load(folder / name / "body.pt", folder / "packs/en")


def plain_tags(model, text):
    """The tag of each word, whose tokens are one each, without windows and batches."""
    speaker = model._languages["en"]
    ids = torch.tensor([[0, *speaker.vocabulary.encode(text), 2]])
    with torch.inference_mode():
        logits = speaker.model(ids, token_head="tag_head")[0][0, 1:-1]
    return [model.classes[index] for index in logits.argmax(dim=-1)], logits.softmax(dim=-1)


def test_entities_have_their_places_in_the_text_as_it_was_given(folder):
    model = load(folder, "entities")
    assert model.task == "tags" and model.classes == list(ENTITIES)
    text = "  ".join(WORDS[:12]) + " "
    [found] = model.tag([text])
    tags, probabilities = plain_tags(model, text)
    assert [(one.label, (one.first, one.last)) for one in found] == entities(tags) and found
    for one in found:
        assert text[one.begin : one.end] == one.text
        assert one.text.split() == WORDS[one.first : one.last + 1]
        best = probabilities[one.first : one.last + 1].max(dim=-1).values
        assert one.probability == pytest.approx(best.mean().item(), abs=1e-5)
    assert model.tag([text, "", WORDS[:12]])[1:] == [
        [], model.tag([" ".join(WORDS[:12])])[0],
    ]  # fmt: skip
    assert model.tag([]) == []


def test_each_word_has_its_part_of_speech(folder):
    model = load(folder, "parts")
    [found] = model.tag([["word1", "\u200b", "word2 word3"]])
    assert [(one.first, one.last) for one in found] == [(0, 0), (1, 1), (2, 2)]
    assert [one.text for one in found] == ["word1", "\u200b", "word2 word3"]
    assert found[1].label is None and found[1].probability == 0
    assert found[0].label == plain_tags(model, "word1 word2 word3")[0][0]
    assert (found[2].begin, found[2].end) == (8, 19)


def test_a_text_longer_than_the_body_is_read_in_windows(folder):
    model = load(folder, "parts")
    text = " ".join(numpy.random.default_rng(1).choice(WORDS, 100))
    [found] = model.tag([text])
    assert len(found) == 100 and {one.label for one in found} <= set(PARTS)
    assert [one.text for one in found] == text.split()
    assert [one.label for one in model.tag([" ".join(text.split()[:30])])[0]] == plain_tags(
        model, " ".join(text.split()[:30])
    )[0]


def test_what_is_not_text_or_words_is_refused(folder):
    model = load(folder, "entities")
    with pytest.raises(InputError, match="a single text is given"):
        model.tag("word1")
    with pytest.raises(InputError, match=r"text 1 \(from 0\) is of the type int"):
        model.tag(["word1", ["word1", 2]])
    with pytest.raises(InputError, match="predict needs a body that .* to classify|classif"):
        model.predict(["word1"])


def predict(folder, name, text, monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    body, pack = folder / name / "body.pt", folder / "packs/en"
    code = main(["predict", "--body", str(body), "--pack", str(pack), *options])
    written = capsys.readouterr()
    return code, [json.loads(line) for line in written.out.splitlines()], written.err


def test_predict_takes_text_and_words(folder, monkeypatch, capsys):
    model = load(folder, "entities")
    text = " ".join(WORDS[:12])
    expected = [
        {**one._asdict(), "probability": pytest.approx(one.probability, abs=1e-5)}
        for one in model.tag([text])[0]
    ]
    _, [row], _ = predict(folder, "entities", text + "\n", monkeypatch, capsys)
    assert row == {"text": text, "prediction": expected}
    records = [{"id": 1, "words": WORDS[:12]}, {"text": text}]
    _, rows, _ = predict(
        folder, "entities", in_json_lines(*records), monkeypatch, capsys, "--json-lines"
    )
    assert [row["prediction"] for row in rows] == [expected, expected] and rows[0]["id"] == 1
    code, _, message = predict(
        folder, "entities", '{"words": ["a", 1]}\n', monkeypatch, capsys, "--json-lines"
    )
    assert code == 2 and "no text under the key 'words'" in message


def evaluate(folder, name, *options):
    output = folder / "scores.json"
    output.unlink(missing_ok=True)
    code = main(
        ["evaluate", "--body", str(folder / name / "body.pt"), *map(str, options),
         "--json", str(output)]
    )  # fmt: skip
    return code, json.loads(output.read_text()) if output.exists() else []


def test_scores_are_those_of_the_tags(folder, capsys):
    model = load(folder, "parts")
    code, [score] = evaluate(folder, "parts", "--test", folder / "packs/en", folder / "parts.txt")
    printed = capsys.readouterr().out
    assert code == 0 and "accuracy (%)" in printed and "F1 (%)" in printed
    assert "entities" not in printed  # a column of the other sort
    blocks = (folder / "parts.txt").read_text().split("\n\n")
    rows = [[line.split() for line in block.splitlines()] for block in blocks]
    found = [one.label for row in model.tag([[w for w, _ in row] for row in rows]) for one in row]
    gold = [tag for row in rows for _, tag in row]
    right = [one == other for one, other in zip(found, gold, strict=True)]
    assert score["accuracy"] == pytest.approx(sum(right) / len(right))
    assert score["words"] == len(gold) and score["sentences"] == 30
    assert {tag: row["n"] for tag, row in score["labels"].items()} == {
        tag: gold.count(tag) for tag in PARTS
    }
    assert score["majority"] == max(map(gold.count, PARTS)) / len(gold)


def test_several_bodies_are_compared_by_what_they_were_scored_by(folder, capsys):
    again = folder / "parts" / "body.pt"
    evaluate(folder, "parts", again, "--test", folder / "packs/en", folder / "parts.txt")
    assert "accuracy of tags (%)" in capsys.readouterr().out


def test_a_benchmark(folder, tmp_path, capsys):
    data = tmp_path / "en_x-ud-test.iob2"
    write_columns(tmp_path / "columns.txt", WORDS, 1, 30)
    lines = [f"1\t{line.replace(' ', chr(9))}" if line else "" for line in
             (tmp_path / "columns.txt").read_text().split("\n")]  # fmt: skip
    data.write_text("\n".join(lines))
    options = ["--benchmark", "uner", "--data", data, "--packs", folder / "packs"]
    code, [score] = evaluate(folder, "entities", *options)
    assert code == 0 and (score["language"], score["sentences"]) == ("en", 30)
    assert evaluate(folder, "entities", "--benchmark", "xnli", *options[2:])[0] == 2
    assert "xnli is not a tags benchmark; these are: udpos, uner," in capsys.readouterr().err


def test_tags_that_the_body_does_not_know(folder, tmp_path, capsys):
    text = (folder / "entities.txt").read_text()
    (tmp_path / "dates.txt").write_text(text.replace("LOC", "DATE"))
    options = ["--test", folder / "packs/en", tmp_path / "dates.txt"]
    code, _ = evaluate(folder, "entities", *options)
    message = capsys.readouterr().err
    assert code == 2 and "has the tags DATE, which the body does not know" in message
    code, [mistakes] = evaluate(folder, "entities", *options, "--unknown-tags", "mistakes")
    assert mistakes["labels"]["DATE"]["recall"] == 0 < mistakes["labels"]["DATE"]["n"]
    code, [outside] = evaluate(folder, "entities", *options, "--unknown-tags", "outside")
    assert "DATE" not in outside["labels"]
    assert outside["entities"] == mistakes["labels"]["PER"]["n"]
    assert evaluate(folder, "parts", *options, "--unknown-tags", "outside")[0] == 2
    assert "--unknown-tags outside is for entities" in capsys.readouterr().err
    assert evaluate(folder, "parts", *options)[0] == 2
    assert "dates.txt has entities (B-DATE" in capsys.readouterr().err


def test_a_word_without_a_token_is_a_mistake_and_long_sentences_lose_none(folder):
    """With a head that knows: the tag is the number of the word, by threes."""
    model = load(folder, "parts")
    speaker = model._languages["en"]
    numbers = numpy.array(
        [int("".join(filter(str.isdigit, symbol)) or 0) for symbol in speaker.symbols]
    )

    class Knowing(torch.nn.Module):
        def forward(self, tokens, token_head):
            return (torch.eye(3)[numbers[tokens] % 3], {})

    body = read_checkpoint(folder / "parts/body.pt")
    tagger = Tagger("body", body, folder / "parts/label/dict.txt")
    tagger.longest = 8
    knowing = type(speaker)(Knowing(), speaker.vocabulary, speaker.symbols, speaker.batches)
    words = tuple(WORDS[index] for index in range(25))
    tags = tuple(PARTS[index % 3] for index in range(25))
    whole = tagger.score(knowing, [Sentence(words, (True,) * 25, tags)], "en")
    assert (whole.accuracy, whole.macro_f1, whole.lost, whole.words) == (1, 1, 0, 25)
    lost = Sentence(("\u200b", *words), (True,) * 26, ("X", *tags))
    score = tagger.score(knowing, [lost], "en")
    assert (score.accuracy, score.lost, score.words) == (pytest.approx(25 / 26), 1, 26)


def test_a_body_without_the_head_and_other_labels_are_refused(
    folder, joint_checkpoint, source_data
):
    body = read_checkpoint(joint_checkpoint)
    with pytest.raises(
        InputError, match="was not fine-tuned to tag: train it with the task tagging"
    ):
        Tagger("body", body, folder / "parts/label/dict.txt")
    with pytest.raises(InputError, match="has 5 classes and the label dictionary 3"):
        Tagger("x", read_checkpoint(folder / "entities/body.pt"), folder / "parts/label/dict.txt")
