"""Taggers go to Hugging Face's library, which gives the same tags, and come from it."""

import json
import warnings

import pytest
import torch
from support.bert_models import CLASSES, make_bert
from support.generated_tags import ENTITIES
from support.huggingface_models import generated_texts, make_model

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.language_side import EMBEDDING
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf

transformers = pytest.importorskip("transformers")

TEXTS = generated_texts()


@pytest.fixture(
    scope="module", params=["bert", "xlmr fast", "roberta fast", "distilbert", "electra"]
)
def folder(request, tmp_path_factory):
    """base/ and its body; model/, a tagger with random weights, and its body; hf/, that written."""
    folder, style = tmp_path_factory.mktemp("tagger"), request.param
    (make_bert if style in CLASSES else make_model)(folder / "base", style, TEXTS)
    import_hf(folder / "base", "xx", folder / "body")
    labels = dict(enumerate(ENTITIES))
    loaded = transformers.AutoModelForTokenClassification.from_pretrained(
        folder / "base", id2label=labels, label2id={name: index for index, name in labels.items()}
    )
    torch.nn.init.normal_(loaded.classifier.weight)
    loaded.save_pretrained(folder / "model")
    transformers.AutoTokenizer.from_pretrained(folder / "base").save_pretrained(folder / "model")
    import_hf(folder / "model", "xx", folder / "tagger", like=folder / "body/body.pt")
    export_hf(folder / "tagger/body.pt", folder / "tagger/pack", folder / "hf")
    return folder


def pipeline(folder, texts, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tagger = transformers.pipeline(
            "token-classification", model=str(folder), aggregation_strategy="first", device="cpu"
        )
        rows = [tagger(text, **options) for text in texts]
    return [
        [
            (one["entity_group"], one["start"], one["end"])
            for one in (row[0] if row and isinstance(row[0], list) else row)
        ]
        for row in rows
    ]


def own(folder, texts):
    model = fairseq_minimodel.load(folder / "tagger/body.pt", folder / "tagger/pack")
    return [[(one.label, one.begin, one.end) for one in row] for row in model.tag(texts)]


def test_a_tagger_comes_in_with_its_head_and_goes_out_again(folder):
    body, base = (read_checkpoint(folder / name / "body.pt") for name in ("tagger", "body"))
    assert torch.equal(body.state[EMBEDDING], base.state[EMBEDDING])
    assert body.config["task"]["_name"] == "tagging"
    labels = [
        line.split()[0] for line in (folder / "tagger/label/dict.txt").read_text().splitlines()
    ]
    assert labels == list(ENTITIES) and not (folder / "tagger/input0").exists()
    first, second = (
        transformers.AutoModelForTokenClassification.from_pretrained(folder / name).eval()
        for name in ("model", "hf")
    )
    assert first.config.id2label == second.config.id2label
    config = json.loads((folder / "hf/config.json").read_text())
    assert any(name.endswith("ForTokenClassification") for name in config["architectures"])
    tokenizers = [
        transformers.AutoTokenizer.from_pretrained(folder / name) for name in ("model", "hf")
    ]
    with torch.inference_mode():
        logits = [
            model(**tokenizer(TEXTS[0], return_tensors="pt")).logits
            for model, tokenizer in zip((first, second), tokenizers, strict=True)
        ]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-5)
    assert logits[0].std() > 0.1


def test_the_pipeline_gives_the_same_tags(folder):
    plain = [text.rstrip(".") for text in TEXTS[:60]]
    found = own(folder, plain)
    assert found == pipeline(folder / "hf", plain) and any(len(row) > 1 for row in found)
    kinds = {label for row in found for label, *_ in row}
    assert kinds == {"PER", "LOC"}


def test_words_that_are_given_have_the_same_tags(folder):
    words = [text.rstrip(".").split() for text in TEXTS[60:90]]
    expected = pipeline(folder / "hf", [" ".join(row) for row in words])
    assert own(folder, words) == expected


def test_punctuation_is_a_word_by_itself(folder):
    """So it is to the library where its tokenizer knows words; else it is a part of the word before."""
    texts = [f"{text[:-1]}, ({text[:20]})" for text in TEXTS[100:130]]
    found, theirs = own(folder, texts), pipeline(folder / "hf", texts)
    if "WordPiece" in (folder / "hf/tokenizer.json").read_text():
        assert found == theirs
    model = fairseq_minimodel.load(folder / "tagger/body.pt", folder / "tagger/pack")
    for text, row in zip(texts, model.tag(texts), strict=True):
        assert all(text[one.begin : one.end] == one.text for one in row)
