"""Tokens added to a tokenizer are one id under their names, in and out, in each form of folder."""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.huggingface_models import generated_texts, make_model, randomise

from fairseq_minimodel.bodies.families import ROBERTA
from fairseq_minimodel.bodies.tensors import EMBEDDING
from fairseq_minimodel.cli import main
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

transformers = pytest.importorskip("transformers")

TEXTS = generated_texts()
# What a user may add: plain words, and markers with every flag.
PLAIN = ["zorbel", "Ω-drive", "New York"]
FLAGGED = {
    "<ent>": {"special": True},
    "[left]": {"lstrip": True},
    "[right]": {"rstrip": True, "special": True},
    "[both]": {"lstrip": True, "rstrip": True},
    "[raw]": {"normalized": False},
    "qua": {"single_word": True, "normalized": False},
}
SETS = {"one special": ["<ent>"], "many": [*PLAIN, *FLAGGED]}
AROUND = ["{}", " {} ", "bada {} kedi.", "bada{}kedi", "bada  {}  {}", "{}."]
SENTENCES = [text.replace("{}", name) for name in [*PLAIN, *FLAGGED] for text in AROUND]


def added(name):
    flags = {"normalized": name not in ("<ent>", "[right]"), **FLAGGED.get(name, {})}
    return transformers.AddedToken(name, **flags)


def make_folder(folder, form, names):
    """A model with added tokens; returns the tokenizer that its ids are compared with."""
    style = {"slow": "xlmr", "slow, old": "xlmr", "both": "xlmr", "vocab and merges": "roberta"}
    model, tokenizer = make_model(folder, style.get(form, form), TEXTS)
    first = len(tokenizer)
    tokens = [added(name) for name in names]
    for token in tokens:
        tokenizer.add_tokens([token], special_tokens=token.special)
    if form.startswith(("slow", "vocab")):
        write_slow_files(folder, tokens, first, with_settings=form != "slow, old")
    else:
        tokenizer.save_pretrained(folder)
    model.resize_token_embeddings(first + len(tokens), mean_resizing=False)
    randomise(model).save_pretrained(folder)
    return tokenizer


def write_slow_files(folder, tokens, first, with_settings):
    """What a slow tokenizer of transformers 4 saves, or of a version before 4.34."""
    rows = {token.content: first + place for place, token in enumerate(tokens)}
    (folder / "added_tokens.json").write_text(json.dumps(rows))
    special = [token.content for token in tokens if token.special]
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"mask_token": "<mask>", "additional_special_tokens": special})
    )
    if with_settings:
        names = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
        decoder = {
            str(rows[token.content]): {name: getattr(token, name) for name in names}
            for token in tokens
        }
        (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
@pytest.mark.parametrize(
    "form",
    [
        "both",
        "xlmr fast",
        "slow",
        "slow, old",
        "vocab and merges",
        "roberta fast",
        "camembert fast",
    ],
)
def test_added_tokens_are_one_id_in_and_out(form, names, tmp_path):
    tokenizer = make_folder(tmp_path / "model", form, names)
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    pack = load_pack(tmp_path / "body/pack")
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    assert len(pack.symbols) == len(tokenizer) == pack.side.vocabulary_size
    export_hf(tmp_path / "body/body.pt", tmp_path / "body/pack", tmp_path / "back")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    before, after = (
        load_file(folder / "model.safetensors")[ROBERTA.names_there([])[EMBEDDING]]
        for folder in (tmp_path / "model", tmp_path / "back")
    )
    for name in names:
        row = pack.symbols.index(name)
        assert vocabulary.encode(f"bada {name} kedi.").tolist().count(row) == 1
        assert torch.equal(after[row], before[theirs.convert_tokens_to_ids(name)])
    for text in SENTENCES + TEXTS[:20]:
        ids = vocabulary.encode(text).tolist()
        expected = theirs.convert_ids_to_tokens(theirs(text, add_special_tokens=False)["input_ids"])
        assert [pack.symbols[index] for index in ids] == expected, text
        assert exported(text, add_special_tokens=False)["input_ids"] == ids, text


def test_a_sentencepiece_model_stays_where_it_has_all_tokens(tmp_path):
    make_folder(tmp_path / "model", "both", [])
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    assert load_pack(tmp_path / "body/pack").tokenizer.name == "sentencepiece.bpe.model"


def test_ids_with_gaps_stay_what_they_are(tmp_path):
    model, _ = make_model(tmp_path / "model", "xlmr", TEXTS)
    first = model.config.vocab_size
    (tmp_path / "model/added_tokens.json").write_text(json.dumps({"zorbel": first + 4}))
    model.resize_token_embeddings(first + 5, mean_resizing=False)
    model.save_pretrained(tmp_path / "model")
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    pack = load_pack(tmp_path / "body/pack")
    assert pack.symbols[first:] == [*(f"madeupword{first + i}" for i in range(4)), "zorbel"]
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    assert vocabulary.encode("bada zorbel").tolist()[-1] == first + 4


@pytest.mark.parametrize("form", ["xlmr fast", "slow", "vocab and merges"])
def test_a_token_with_a_line_break_is_named_with_the_users_file(form, tmp_path, capsys):
    folder = tmp_path / "model"
    make_folder(folder, form, ["two\nlines"])
    arguments = ["import-hf", "--model", folder, "--language", "xx", "--output", tmp_path / "body"]
    assert main([str(part) for part in arguments]) == 2
    said = capsys.readouterr().err
    assert "'two\\nlines'" in said and str(folder) in said and "partial" not in said
    assert sorted(tmp_path.iterdir()) == [folder]
