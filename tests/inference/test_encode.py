"""Vectors of texts in several languages over one body, from Python and by the verb."""

import json

import pytest
import torch
from support.bodies import sentences

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError


@pytest.fixture(scope="module")
def encoder(bodies, tmp_path_factory):
    """A body made for sentence vectors."""
    path = tmp_path_factory.mktemp("encoder") / "body.pt"
    body = read_checkpoint(bodies / "pretrained.pt")
    settings = {"sentence_pooling": "max", "sentence_normalise": True, "sentence_length": 9}
    write_checkpoint(path, body.replaced(body.state, **settings))
    return path


@pytest.fixture(scope="module")
def both(bodies):
    return [bodies / "packs/en", bodies / "packs/de"]


def mixture(count):
    """Texts in two languages, in turns, one of them empty."""
    english, german = sentences("en", count, seed=1), sentences("de", count, seed=2)
    texts = [text for pair in zip(english, german, strict=True) for text in pair]
    return [*texts, ""], ["en", "de"] * count + ["de"]


@pytest.mark.parametrize("layer", [None, 0, 2])
def test_each_text_of_a_mixture_has_the_vector_of_its_own_language(layer, encoder, both):
    served = fairseq_minimodel.load(encoder, both, max_tokens=64)
    texts, languages = mixture(30)
    mixed = served.encode(texts, layer, languages)
    for language in ("en", "de"):
        own = [place for place, one in enumerate(languages) if one == language]
        alone = served.encode([texts[place] for place in own], layer, language)
        torch.testing.assert_close(mixed[own], alone, atol=1e-5, rtol=0)
    swapped = served.encode(texts, layer, languages[::-1])
    assert (swapped - mixed).abs().max() > 0.1


def test_lengths_are_as_the_settings_say(encoder, both, caplog):
    served = fairseq_minimodel.load(encoder, both)
    text = sentences("en", 1, shortest=12, longest=12)[0]
    short = " ".join(text.split()[:7])  # and <s> and </s>
    vectors = served.encode([text, short])
    assert torch.equal(vectors[0], vectors[1])
    assert "1 of 2 texts are longer than the 9 tokens" in caplog.text
    assert served.encode([text])[0].norm().item() == pytest.approx(1)


def test_a_language_for_each_text_is_needed(encoder, both):
    served = fairseq_minimodel.load(encoder, both)
    with pytest.raises(InputError, match="2 texts and 1 languages"):
        served.encode(["word1", "word2"], language=["en"])
    with pytest.raises(InputError, match="without the language 'tr'"):
        served.encode(["word1", "word2"], language=["en", "tr"])
    assert served.encode([], language=[]).shape == (0, 16)


def test_the_verb_reads_the_language_of_each_line(encoder, both, tmp_path):
    texts, languages = mixture(5)
    rows = [{"text": text, "lang": one} for text, one in zip(texts, languages, strict=True)]
    given, output = tmp_path / "texts.jsonl", tmp_path / "vectors.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["predict", "--body", encoder, "--pack", both[0], "--pack", both[1], "--input", given,
             "--output", output, "--language-column", "lang"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    written = [json.loads(line) for line in output.read_text().splitlines()]
    expected = fairseq_minimodel.load(encoder, both).encode(texts, language=languages)
    assert [{name: row[name] for name in ("text", "lang")} for row in written] == rows
    found = torch.tensor([row["prediction"] for row in written])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("body", "line", "sentence"),
    [
        (
            "encoder",
            '{"text": "word1", "language": "tr"}',
            "texts.jsonl, line 1: the language is 'tr'",
        ),
        ("encoder", '{"text": "word1"}', "line 1"),
        ("pretrained.pt", '{"text": "<mask>"}', "several --pack are for bodies made for sentence"),
    ],
)
def test_what_the_verb_refuses(body, line, sentence, bodies, encoder, both, tmp_path, capsys):
    (tmp_path / "texts.jsonl").write_text(f"{line}\n")
    path = encoder if body == "encoder" else bodies / body
    words = ["predict", "--body", path, "--pack", both[0], "--pack", both[1], "--input",
             tmp_path / "texts.jsonl"]  # fmt: skip
    assert main([str(word) for word in words]) == 2
    assert sentence in capsys.readouterr().err
