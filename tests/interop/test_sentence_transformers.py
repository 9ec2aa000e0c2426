"""Models for sentence vectors: into a body and out again, with the vectors that the library gives."""

import json

import pytest
import torch
from support.bert_models import make_bert
from support.huggingface_models import generated_texts

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.interop.sentence_transformers import (
    read_sentence_settings,
    write_sentence_settings,
)

TEXTS = generated_texts()
LONG = " ".join(TEXTS[:10])  # longer than what a vector is made of
LENGTH = 20
OLD = {
    "mean": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    "cls": {"pooling_mode_cls_token": True},
    "max": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False},
}


def write_modules(folder, pooling, normalise, length=LENGTH):
    kinds = ["Transformer", "Pooling", *["Normalize"] * normalise]
    modules = [
        {"idx": place, "name": str(place), "path": f"{place}_{kind}" if place else "",
         "type": f"sentence_transformers.models.{kind}"}
        for place, kind in enumerate(kinds)
    ]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT without a head, as models for sentence vectors are published."""
    folder = tmp_path_factory.mktemp("sentence") / "model"
    return folder, *make_bert(folder, "bert", TEXTS, head="Model")


def plain_vectors(model, tokenizer, pooling, normalise):
    vectors = []
    for text in (*TEXTS[:20], LONG):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=LENGTH)
        with torch.no_grad():
            hidden = model(**inputs)[0][0]
        vector = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[pooling]
        vectors.append(vector / vector.norm() if normalise else vector)
    return torch.stack(vectors)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_vectors_are_those_of_the_library_before_and_after(bert, pooling, normalise, tmp_path):
    folder, model, tokenizer = bert
    write_modules(folder, OLD[pooling], normalise)
    imported, exported = tmp_path / "imported", tmp_path / "exported"
    assert main(["import-hf", "--model", str(folder), "--language", "en", "--output",
                 str(imported)]) == 0  # fmt: skip
    served = fairseq_minimodel.load(imported / "body.pt", imported / "pack")
    expected = plain_vectors(model, tokenizer, pooling, normalise)
    assert served.task == "vectors"
    found = served.encode([*TEXTS[:20], LONG])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert main(["export-hf", "--body", str(imported / "body.pt"), "--pack",
                 str(imported / "pack"), "--output", str(exported)]) == 0  # fmt: skip
    settings, _ = read_sentence_settings(exported, 64)
    assert settings == read_checkpoint(imported / "body.pt").sentence_settings()
    card = (exported / "README.md").read_text()
    assert "library_name: sentence-transformers" in card and "sentence-similarity" in card
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(str(exported), device="cpu")
    found = theirs.encode([*TEXTS[:20], LONG], convert_to_tensor=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_files_of_newer_versions_are_read(bert):
    folder = bert[0]
    write_modules(folder, {"embedding_dimension": 32, "pooling_mode": "cls"}, True, 1000)
    settings, notes = read_sentence_settings(folder, 64)
    assert settings == {
        "sentence_pooling": "cls", "sentence_normalise": True, "sentence_length": 64,
    }  # fmt: skip
    assert notes == ["for sentence vectors (cls, of length 1, of at most 64 tokens)"]


@pytest.mark.parametrize(
    ("pooling", "modules", "reason"),
    [
        ({"pooling_mode_lasttoken": True}, None, "its pooling is lasttoken"),
        (OLD["mean"] | OLD["cls"], None, "its pooling is cls and mean"),
        ({}, None, "its pooling is not known"),
        (OLD["cls"], ["Transformer", "Pooling", "Dense"], "Transformer, Pooling, Dense"),
    ],
)
def test_what_is_not_known_is_said_and_left_out(bert, pooling, modules, reason):
    folder = bert[0]
    write_modules(folder, pooling, False)
    if modules:
        listed = [{"type": f"sentence_transformers.models.{kind}"} for kind in modules]
        (folder / "modules.json").write_text(json.dumps(listed))
    settings, [note] = read_sentence_settings(folder, 64)
    assert settings == {} and reason in note


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]", '[{"path": ""}]'])
def test_damaged_files_are_one_sentence(bert, content, tmp_path):
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(InputError, match=r"modules\.json.* is damaged"):
        read_sentence_settings(tmp_path, 64)


def test_a_path_in_a_file_leads_nowhere_else(bert, tmp_path):
    write_modules(tmp_path, OLD["cls"], False)
    text = (tmp_path / "modules.json").read_text().replace("1_Pooling", "../../1_Pooling")
    (tmp_path / "modules.json").write_text(text)
    assert read_sentence_settings(tmp_path, 64)[0]["sentence_pooling"] == "cls"


def test_what_is_written_is_read(tmp_path):
    for pooling in ("mean", "cls", "max"):
        given = {
            "sentence_pooling": pooling, "sentence_normalise": False, "sentence_length": None,
        }  # fmt: skip
        write_sentence_settings(tmp_path, given, 8, 64)
        assert read_sentence_settings(tmp_path, 64)[0] == {**given, "sentence_length": 64}
