"""Helpers in Hugging Face's form, made by hand; and language packs."""

import json

import pytest
import torch
from safetensors.torch import save_file

from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.packs.pack import Description, save_pack
from fairseq_minimodel.packs.start.helper import read_folder
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols

EMBEDDING = torch.arange(24.0).view(6, 4)  # one row more than tokens: padded to a round number
TOKENS = ["<s>", "<unk>", "▁a", "▁b", "c"]
NAME = "roberta.embeddings.word_embeddings.weight"


def write_tokenizer(folder, form):
    ids = {token: row for row, token in enumerate(TOKENS)}
    added = [{"id": 0, "content": "<s>"}, {"id": 1, "content": "<unk>"}]
    if form == "unigram":
        model = {"type": "Unigram", "vocab": [[token, -1.0] for token in TOKENS]}
        content = {"model": model, "added_tokens": added}
        (folder / "tokenizer.json").write_text(json.dumps(content))
    elif form == "bpe":  # special tokens stand only among those added, and ids in any order
        pieces = {token: row for token, row in reversed(ids.items()) if row > 1}
        content = {"model": {"type": "BPE", "vocab": pieces, "merges": []}, "added_tokens": added}
        (folder / "tokenizer.json").write_text(json.dumps(content))
    elif form == "vocab.json":
        (folder / "vocab.json").write_text(json.dumps(ids))
    else:
        (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")


def write_weights(folder, form="model.safetensors", name=NAME, embedding=EMBEDDING):
    other = torch.zeros(6, 4)
    if form == "model.safetensors":
        save_file({name: embedding, "lm_head.bias": other}, folder / form)
    elif form == "parts":
        save_file({"lm_head.bias": other}, folder / "model-1.safetensors")
        save_file({name: embedding}, folder / "model-2.safetensors")
        files = {"lm_head.bias": "model-1.safetensors", name: "model-2.safetensors"}
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": files}))
    else:
        torch.save({"lm_head.bias": other, name: embedding}, folder / "pytorch_model.bin")


@pytest.mark.parametrize("tokenizer", ["unigram", "bpe", "vocab.json", "vocab.txt"])
@pytest.mark.parametrize("weights", ["model.safetensors", "parts", "pytorch_model.bin"])
def test_every_row_has_its_token(tokenizer, weights, tmp_path):
    write_tokenizer(tmp_path, tokenizer)
    write_weights(tmp_path, weights)
    helper = read_folder(tmp_path)
    assert helper.symbols == TOKENS
    assert torch.equal(helper.vectors, EMBEDDING[:5])


@pytest.mark.parametrize(
    "name", ["transformer.wte.weight", "model.embed_tokens.weight", "shared.weight", NAME]
)
def test_the_embedding_is_found_by_its_name(name, tmp_path):
    write_tokenizer(tmp_path, "bpe")
    write_weights(tmp_path, name=name)
    assert torch.equal(read_folder(tmp_path).vectors, EMBEDDING[:5])


def test_a_language_pack_is_a_helper(tmp_path):
    dictionary, tokenizer = tmp_path / "dict.txt", tmp_path / "spm.model"
    dictionary.write_text("▁a 3\nb 2\n")
    tokenizer.write_bytes(b"a tokenizer")
    symbols = read_symbols(dictionary)
    side = LanguageSide(torch.randn(7, 4), torch.randn(7))
    description = Description("xx", "lineage", fingerprint(symbols), 7, 4, depth=2)
    save_pack(tmp_path / "pack", side, description, dictionary, tokenizer)
    helper = read_folder(tmp_path / "pack")
    assert helper.symbols == symbols and torch.equal(helper.vectors, side.embedding)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither a language pack .* nor a model"):
        read_folder(tmp_path)
    write_tokenizer(tmp_path, "bpe")
    with pytest.raises(InputError, match="neither model.safetensors nor pytorch_model.bin"):
        read_folder(tmp_path)


def test_a_model_without_an_embedding_is_refused(tmp_path):
    write_tokenizer(tmp_path, "bpe")
    write_weights(tmp_path, name="classifier.weight")
    with pytest.raises(InputError, match="model.safetensors has no token embedding"):
        read_folder(tmp_path)


def test_a_vocabulary_of_another_model_is_refused(tmp_path):
    write_tokenizer(tmp_path, "bpe")
    write_weights(tmp_path, embedding=EMBEDDING[:3])
    with pytest.raises(InputError, match="has the id 4 and its embedding 3 rows"):
        read_folder(tmp_path)


@pytest.mark.parametrize("weights", ["model.safetensors", "parts", "pytorch_model.bin"])
def test_damaged_weights_are_named(weights, tmp_path):
    write_tokenizer(tmp_path, "bpe")
    write_weights(tmp_path, weights)
    for file in tmp_path.glob("*model*"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match="model.* is damaged"):
        read_folder(tmp_path)


@pytest.mark.parametrize("content", ['{"model"', "{}", '{"model": {"vocab": 3}}', "[]"])
def test_a_damaged_vocabulary_is_named(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match="(vocabulary of .*|tokenizer.json) is damaged"):
        read_folder(tmp_path)


class Payload:
    def __reduce__(self):
        return print, ("this ran",)


def test_weights_that_would_run_code_are_refused(tmp_path, capsys):
    write_tokenizer(tmp_path, "bpe")
    torch.save({NAME: Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="refused: it holds objects of builtins.print"):
        read_folder(tmp_path)
    assert "this ran" not in capsys.readouterr().out


def test_a_model_saved_by_transformers_is_read(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.RobertaConfig(
        vocab_size=5, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4
    )
    model = transformers.RobertaForMaskedLM(config)
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path, "unigram")
    helper = read_folder(tmp_path)
    assert torch.equal(helper.vectors, model.get_input_embeddings().weight)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "..", "", "a\\b", "sub/x.safetensors"]
)
def test_an_index_names_files_beside_it_alone(name, tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    write_tokenizer(folder, "bpe")
    for place in (tmp_path / "secret.safetensors", folder / "sub/x.safetensors"):
        save_file({NAME: EMBEDDING}, place)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {NAME: name}}))
    with pytest.raises(InputError, match="index.json is refused: it names the file"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "is a list, not an object"),
        ("{}", "weight_map is missing"),
        ('{"weight_map": {"a": 1}}', "weight_map.a is 1, not text"),
        (
            json.dumps({"weight_map": {NAME: "absent.safetensors"}}),
            "no 'absent.safetensors' beside",
        ),
    ],
)
def test_a_damaged_index_is_named(content, words, tmp_path):
    write_tokenizer(tmp_path, "bpe")
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=f"index.json is damaged.*{words}"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "vocabulary",
    [
        {"a": "0"}, {"a": [1]}, {"a": None}, {"a": True}, {"a": -1}, [], {}, "text",
        [["a"]], [[1, 2]], [[["a"], 1.0]],
    ],
)  # fmt: skip
def test_hostile_vocabularies_are_one_sentence(vocabulary, tmp_path):
    write_weights(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    with pytest.raises(InputError, match="vocabulary of"):
        read_folder(tmp_path)


@pytest.mark.parametrize("weights", ["model.safetensors", "parts", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("embedding", "words"),
    [
        (torch.full((6, 4), torch.nan), "24 NaN of 24 values"),
        (torch.ones(6), "of 1 dimensions"),
        (torch.ones(6, 4).int(), "as int32"),
    ],
)
def test_an_embedding_that_cannot_help_is_refused(weights, embedding, words, tmp_path):
    write_tokenizer(tmp_path, "bpe")
    write_weights(tmp_path, weights, embedding=embedding)
    with pytest.raises(InputError, match=words):
        read_folder(tmp_path)


def test_weights_of_the_older_form_are_read(tmp_path):
    write_tokenizer(tmp_path, "bpe")
    state = {NAME: EMBEDDING}
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(read_folder(tmp_path).vectors, EMBEDDING[:5])
