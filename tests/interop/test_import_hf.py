"""Models of each style come in with the same logits for the same text, or are refused in a sentence."""

import json
import shutil

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.huggingface_models import HARD, generated_texts, make_model, train_sentencepiece

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.kinds.windows import AligningVocabulary
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

pytest.importorskip("transformers")

STYLES = ("xlmr", "xlmr fast", "camembert", "camembert fast", "roberta", "roberta fast")
TEXTS = generated_texts()


@pytest.fixture(scope="module", params=STYLES)
def imported(request, tmp_path_factory):
    """(style, model, its tokenizer, folder it lies in, folder it is imported to)"""
    folder = tmp_path_factory.mktemp("imported")
    model, tokenizer = make_model(folder / "model", request.param, TEXTS)
    import_hf(folder / "model", "xx", folder / "body")
    return request.param, model, tokenizer, folder / "model", folder / "body"


def test_logits_and_ids_are_the_models_own(imported):
    style, model, tokenizer, _, folder = imported
    checkpoint, pack = read_checkpoint(folder / "body.pt"), load_pack(folder / "pack")
    ours = build_model(checkpoint, pack.symbols)
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    columns = [tokenizer.convert_tokens_to_ids(symbol) for symbol in pack.symbols]
    assert sorted(columns) == list(range(len(tokenizer)))
    for text in TEXTS[:20]:
        ids = numpy.concatenate([[0], vocabulary.encode(text), [2]])
        theirs = tokenizer(text, return_tensors="pt")
        assert [pack.symbols[index] for index in ids] == tokenizer.convert_ids_to_tokens(
            theirs["input_ids"][0]
        )
        with torch.inference_mode():
            expected = model(**theirs).logits[..., columns]
            logits = ours(torch.tensor(ids)[None])[0]
        assert expected.std() > 0.1
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_a_round_trip_changes_no_tensor(imported, tmp_path):
    style, _, tokenizer, origin, folder = imported
    export_hf(folder / "body.pt", folder / "pack", tmp_path / "back")
    before, after = (load_file(path / "model.safetensors") for path in (origin, tmp_path / "back"))
    assert before.keys() == after.keys()
    symbols = load_pack(folder / "pack").symbols
    rows = [tokenizer.convert_tokens_to_ids(symbol) for symbol in symbols]
    assert (rows == list(range(len(rows)))) == (not style.startswith("camembert"))
    for name, tensor in before.items():
        of_vocabulary = name.endswith("word_embeddings.weight") or name == "lm_head.bias"
        assert torch.equal(after[name], tensor[rows] if of_vocabulary else tensor), name


def test_the_exported_tokenizer_has_the_ids_and_offsets_of_the_pack(imported, tmp_path):
    from transformers import AutoTokenizer

    style, _, _, _, folder = imported
    export_hf(folder / "body.pt", folder / "pack", tmp_path / "back")
    exported = AutoTokenizer.from_pretrained(tmp_path / "back")
    pack = load_pack(folder / "pack")
    vocabulary = AligningVocabulary(pack.tokenizer, pack.dictionary)
    for text in [*TEXTS[:50], *HARD]:
        got = exported(text, return_offsets_mapping=True, add_special_tokens=False)
        aligned = vocabulary.align(text)
        assert got["input_ids"] == aligned.ids.tolist(), text
        if style.endswith("fast") or style == "roberta":
            offsets = list(zip(aligned.begins.tolist(), aligned.ends.tolist(), strict=True))
            assert got["offset_mapping"] == offsets
    assert exported("ba", "be")["input_ids"] == [
        0, *vocabulary.encode("ba"), 2, 2, *vocabulary.encode("be"), 2
    ]  # fmt: skip


def test_an_imported_body_is_ready_for_minipost_and_its_pack_for_text(imported, tmp_path):
    *_, folder = imported
    body = folder / "body.pt"
    assert main(["extend", "--body", str(body), "--depth", "1", "--new-layers", "1",
                 "--output", str(tmp_path / "extended.pt")]) == 0  # fmt: skip
    pack = load_pack(folder / "pack")
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS))
    assert main(["prepare", "--text", str(tmp_path / "text.txt"), "--workers", "1", "--output",
                 str(tmp_path / "data"), "--sentencepiece-model", str(pack.tokenizer), "--dict",
                 str(pack.dictionary)]) == 0  # fmt: skip
    assert (tmp_path / "data" / pack.tokenizer.name).read_bytes() == pack.tokenizer.read_bytes()
    assert (tmp_path / "data/train.bin").stat().st_size > 1000
    assert main(["plug", "--body", str(body), "--pack", str(pack.folder), "--output",
                 str(tmp_path / "plugged")]) == 0  # fmt: skip
    assert (tmp_path / "plugged" / pack.tokenizer.name).is_file()


def test_fairseqs_own_tools_load_the_body(imported):
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    *_, folder = imported
    (model,), _, task = load_model_ensemble_and_task([str(folder / "body.pt")])
    assert model.encoder.sentence_encoder.embed_tokens.num_embeddings == len(task.dictionary)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "model"
    make_model(folder, "xlmr", TEXTS)
    return folder


@pytest.fixture
def model(good, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "model")


def refused(model, capsys):
    """What the command says; it must leave nothing behind."""
    output = model.parent / "output"
    assert (
        main(["import-hf", "--model", str(model), "--language", "xx", "--output", str(output)]) == 2
    )
    assert [path.name for path in model.parent.iterdir()] == [model.name]
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("model_type", "gpt2", "type 'gpt2'; only roberta"),
        ("hidden_act", "relu", "hidden_act 'relu', and fairseq's RoBERTa has 'gelu'"),
        ("layer_norm_eps", 0, "layer_norm_eps 0, which is not between 0 and 1"),
        ("layer_norm_eps", "1e-5", "layer_norm_eps is '1e-5'"),
        ("position_embedding_type", "relative_key", "relative_key"),
        ("pad_token_id", 0, "pad_token_id 0"),
        ("hidden_size", 64, r"shape \(300, 32\)|has the shape"),
        ("num_hidden_layers", 4, "lack roberta.encoder.layer.3"),
        ("num_hidden_layers", 10**9, "lack roberta.encoder.layer.999999999"),
        ("num_hidden_layers", 0, "num_hidden_layers 0, which is too small"),
        ("num_attention_heads", None, "num_attention_heads is missing"),
        ("num_attention_heads", 5, "num_attention_heads 5, which does not divide"),
        ("max_position_embeddings", 2, "max_position_embeddings 2, which is too small"),
        ("max_position_embeddings", 70, "position_embeddings.weight .* has the shape"),
        ("intermediate_size", 40, "intermediate.dense.weight .* has the shape"),
    ],
)
def test_what_fairseq_cannot_express_is_refused(model, capsys, setting, value, sentence):
    config = json.loads((model / "config.json").read_text())
    config[setting] = value
    if value is None:
        del config[setting]
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=sentence):
        import_hf(model, "xx", model.parent / "output")
    assert "Traceback" not in refused(model, capsys)


@pytest.mark.parametrize(
    "name",
    [
        "roberta.encoder.layer.1.attention.self.query.weight",
        "roberta.encoder.layer.2.output.dense.bias",
        "roberta.embeddings.LayerNorm.weight",
        "roberta.embeddings.token_type_embeddings.weight",
        "lm_head.dense.weight",
        "lm_head.bias",
    ],
)
def test_a_tensor_of_another_shape_is_named(model, capsys, name):
    state = load_file(model / "model.safetensors")
    state[name] = torch.ones(*(size + 1 for size in state[name].shape))
    save_file(state, model / "model.safetensors")
    assert f"{name} of {model} has the shape" in refused(model, capsys)


def test_a_damaged_sentencepiece_model_is_named_beside_a_tokenizer_json(model, capsys):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(model).save_pretrained(model)
    path = model / "sentencepiece.bpe.model"
    path.write_bytes(path.read_bytes()[:100])
    assert f"{path} is not a SentencePiece model" in refused(model, capsys)


def test_a_tokenizer_with_few_of_the_rows_does_not_belong_to_the_model(model, tmp_path, capsys):
    train_sentencepiece(model / "sentencepiece.bpe.model", TEXTS, 100)
    assert "has 102 tokens and the embedding 302 rows" in refused(model, capsys)


def test_missing_and_broken_files_are_named(model, capsys):
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    assert "model.safetensors is damaged" in refused(model, capsys)
    weights.unlink()
    assert "has neither model.safetensors nor pytorch_model.bin" in refused(model, capsys)
    weights.write_bytes(whole)
    pieces = (model / "sentencepiece.bpe.model").read_bytes()
    (model / "sentencepiece.bpe.model").write_bytes(pieces[:100])
    assert "not a SentencePiece model" in refused(model, capsys)
    (model / "sentencepiece.bpe.model").unlink()
    assert "has no tokenizer" in refused(model, capsys)
    (model / "tokenizer.json").write_text("{}")
    assert "tokenizer of" in refused(model, capsys)
    (model / "config.json").write_text("{")
    assert "config.json is damaged" in refused(model, capsys)
    (model / "config.json").unlink()
    assert "no " + str(model / "config.json") in refused(model, capsys)


def test_a_part_of_an_mlm_head_is_refused_and_other_heads_are_left_out(model, capsys):
    state = load_file(model / "model.safetensors")
    state["roberta.pooler.dense.weight"] = torch.zeros(32, 32)
    save_file(state, model / "model.safetensors")
    import_hf(model, "xx", model.parent / "output")
    assert "left out: roberta.pooler.dense.weight" in capsys.readouterr().out
    shutil.rmtree(model.parent / "output")
    del state["lm_head.dense.weight"]
    save_file(state, model / "model.safetensors")
    assert "lack lm_head.dense.weight (a part of its MLM head)" in refused(model, capsys)


def test_bin_files_are_read_without_running_them(model, capsys):
    state = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(state, model / "pytorch_model.bin")
    import_hf(model, "xx", model.parent / "output")
    imported = read_checkpoint(model.parent / "output/body.pt")
    expected = state["roberta.encoder.layer.2.output.dense.weight"]
    assert torch.equal(imported.state["encoder.sentence_encoder.layers.2.fc2.weight"], expected)
    shutil.rmtree(model.parent / "output")
    torch.save({"hook": print}, model / "pytorch_model.bin")
    assert "can run code" in refused(model, capsys)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_not_finite_are_refused(model, capsys, name):
    state = load_file(model / "model.safetensors")
    state["roberta.encoder.layer.1.output.dense.weight"][0, :3] = torch.nan
    (model / "model.safetensors").unlink()
    (save_file if name == "model.safetensors" else torch.save)(state, model / name)
    assert f"{name} holds values that are not finite: " in (said := refused(model, capsys))
    assert "layer.1.output.dense.weight has 3 NaN of" in said


def test_parts_of_a_large_model_are_read(good, model):
    state = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"model-1.safetensors": names[:20], "model-2.safetensors": names[20:]}
    for part, held in parts.items():
        save_file({name: state[name] for name in held}, model / part)
    index = {name: part for part, held in parts.items() for name in held}
    text = json.dumps({"weight_map": index})
    (model / "model.safetensors.index.json").write_text(text)
    for origin, output in ((good, "whole"), (model, "parts")):
        import_hf(origin, "xx", model.parent / output)
    whole, read = (
        read_checkpoint(model.parent / output / "body.pt").state for output in ("whole", "parts")
    )
    assert whole.keys() == read.keys()
    assert all(torch.equal(tensor, read[name]) for name, tensor in whole.items())


def test_an_embedding_of_token_types_goes_into_the_positions(model, capsys):
    from transformers import AutoModelForMaskedLM

    state = load_file(model / "model.safetensors")
    state["roberta.embeddings.token_type_embeddings.weight"] = torch.randn(1, 32)
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    import_hf(model, "xx", model.parent / "output")
    assert "token type 0 added" in capsys.readouterr().out
    pack = load_pack(model.parent / "output/pack")
    ours = build_model(read_checkpoint(model.parent / "output/body.pt"), pack.symbols)
    ids = torch.tensor([[0, 9, 30, 12, 7, 2]])
    with torch.inference_mode():
        expected = AutoModelForMaskedLM.from_pretrained(model)(ids).logits
        torch.testing.assert_close(ours(ids)[0], expected, rtol=0, atol=1e-5)


def test_a_missing_library_is_one_sentence(imported, monkeypatch, capsys):
    style, *_, folder = imported
    pack = load_pack(folder / "pack")
    if pack.tokenizer.name != "tokenizer.json":
        pytest.skip("SentencePiece is always there")
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'fairseq-minimodel\[hf\]'"):
        Vocabulary(pack.tokenizer, pack.dictionary)
