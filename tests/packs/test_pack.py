import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inspect.command import describe
from fairseq_minimodel.packs.pack import Description, load_pack, save_pack
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols

SIDE = LanguageSide(torch.randn(8, 4), torch.randn(8))


@pytest.fixture
def parts(tmp_path):
    dictionary, tokenizer = tmp_path / "dict.txt", tmp_path / "spm.model"
    dictionary.write_text("a 3\nb 2\nc 1\n")
    tokenizer.write_bytes(b"a tokenizer")
    description = Description(
        language="xx",
        lineage="0123456789abcdef",
        vocabulary=fingerprint(read_symbols(dictionary)),
        vocabulary_size=8,
        width=4,
        depth=2,
    )
    return description, dictionary, tokenizer


@pytest.fixture
def pack(parts, tmp_path):
    description, dictionary, tokenizer = parts
    save_pack(tmp_path / "pack", SIDE, description, dictionary, tokenizer)
    return tmp_path / "pack"


def test_a_pack_comes_back_as_it_was_saved(pack, parts):
    loaded = load_pack(pack)
    assert torch.equal(loaded.side.embedding, SIDE.embedding)
    assert torch.equal(loaded.side.bias, SIDE.bias)
    assert loaded.description == parts[0]
    assert loaded.symbols == ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c", "<mask>"]
    assert loaded.tokenizer.read_bytes() == b"a tokenizer"
    assert not list(pack.parent.glob(".*"))  # nothing temporary is left


@pytest.mark.parametrize(
    "name", ["language.safetensors", "dict.txt", "sentencepiece.bpe.model", "language.json"]
)
def test_a_missing_file_is_named(pack, name):
    (pack / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}"):
        load_pack(pack)


def test_a_truncated_file_is_named(pack):
    weights = pack / "language.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(InputError, match="language.safetensors is damaged"):
        load_pack(pack)


def test_a_damaged_description_is_named(pack):
    (pack / "language.json").write_text('{"language": "xx"')
    with pytest.raises(InputError, match="language.json is damaged"):
        load_pack(pack)
    (pack / "language.json").write_text('{"language": "xx"}')
    with pytest.raises(InputError, match="language.json is damaged"):
        load_pack(pack)


def test_another_dictionary_of_the_same_size_is_refused(pack):
    (pack / "dict.txt").write_text("b 3\na 2\nc 1\n")
    with pytest.raises(InputError, match="not the dictionary that the language side was trained"):
        load_pack(pack)


def test_a_dictionary_of_another_size_is_refused_when_saving(parts, tmp_path):
    description, dictionary, tokenizer = parts
    dictionary.write_text("a 3\nb 2\n")
    with pytest.raises(InputError, match="7 symbols.*8 rows"):
        save_pack(tmp_path / "pack", SIDE, description, dictionary, tokenizer)
    assert not (tmp_path / "pack").exists()


def test_sizes_that_contradict_the_description_are_refused(pack):
    content = json.loads((pack / "language.json").read_text())
    (pack / "language.json").write_text(json.dumps({**content, "width": 5}))
    with pytest.raises(InputError, match="8 x 4, and its description says 8 x 5"):
        load_pack(pack)


def test_saving_over_a_pack_replaces_it_as_a_whole_and_nothing_else(pack, parts):
    description, dictionary, tokenizer = parts
    (pack / "tokenizer.json").write_text("{}")
    save_pack(pack, SIDE, replace(description, language="yy"), dictionary, tokenizer)
    assert load_pack(pack).description.language == "yy"
    assert not (pack / "tokenizer.json").exists()
    (pack / "stray").touch()
    with pytest.raises(InputError, match="holds stray: only a language pack"):
        save_pack(pack, SIDE, description, dictionary, tokenizer)
    assert (pack / "stray").exists() and load_pack(pack).description.language == "yy"


@pytest.mark.parametrize("name", ["", " ", "de/at", "..", ".de", "d\x1b[2Je", "d\ne", "d" * 101])
def test_a_language_has_a_name_that_a_folder_could_have(name, parts, tmp_path):
    description, dictionary, tokenizer = parts
    with pytest.raises(InputError, match="--language .*: give a name"):
        save_pack(
            tmp_path / "pack", SIDE, replace(description, language=name), dictionary, tokenizer
        )
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize(
    "name", ["de", "zh-Hans", "pt_BR", "Kiswahili", "தமிழ்", "فارسی", "en (old)"]
)
def test_names_of_languages_in_any_script(name, parts, tmp_path):
    description, dictionary, tokenizer = parts
    save_pack(tmp_path / "pack", SIDE, replace(description, language=name), dictionary, tokenizer)
    assert load_pack(tmp_path / "pack").description.language == name


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("language", 5, "language is 5, not text"),
        ("lineage", None, "lineage is null"),
        ("width", "4", "width is '4', not a whole number"),
        ("vocabulary_size", [8], "vocabulary_size is a list"),
        ("depth", {}, "depth is an object"),
        ("flops", "many", "flops is 'many'"),
        ("versions", {"torch": 2.6}, "versions.torch is 2.6, not text"),
        ("versions", [], "versions is a list"),
        ("colour", "red", "colour is not known"),
    ],
)
def test_fields_of_other_types_are_named(pack, field, value, words):
    content = json.loads((pack / "language.json").read_text())
    (pack / "language.json").write_text(json.dumps({**content, field: value}))
    with pytest.raises(InputError, match=f"language.json is damaged .*{words}"):
        load_pack(pack)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"embed_tokens.weight": torch.full((8, 4), torch.nan)}, "32 NaN of 32 values"),
        ({"lm_head.bias": torch.full((8,), torch.inf)}, "lm_head.bias has 8 infinite of 8 values"),
        ({"embed_tokens.weight": torch.ones(8, 4).long()}, "embed_tokens.weight as int64"),
        ({"embed_tokens.weight": torch.ones(8)}, "do not belong together"),
        ({"embed_tokens.weight": torch.ones(0, 4)}, r"shape \(0, 4\)"),
        ({"lm_head.bias": torch.ones(7)}, "do not belong together"),
        ({"lm_head.bias": None}, "it has no lm_head.bias"),
    ],
)
def test_weights_that_no_language_has_are_refused(pack, tensors, words):
    path = pack / "language.safetensors"
    whole = {**safetensors.torch.load_file(path), **tensors}
    kept = {name: tensor for name, tensor in whole.items() if tensor is not None}
    safetensors.torch.save_file(kept, path)
    with pytest.raises(InputError, match=words):
        load_pack(pack)


def test_nan_is_shown_where_it_is_looked_for(pack):
    path = pack / "language.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({**tensors, "lm_head.bias": torch.full((8,), torch.nan)}, path)
    assert load_pack(pack, finite=False).side.bias.isnan().all()
    assert "has 8 NaN of" in describe(pack).warnings[0]
