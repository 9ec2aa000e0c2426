"""EuroBERT comes in and goes out with the same hidden states, logits and ids, and two tables."""

import json
import shutil
from dataclasses import replace

import numpy
import pytest
import torch
from interop import test_modernbert as modern
from safetensors.torch import load_file, save_file
from support.modern_models import EURO_NAMES, RESERVED, make_euro

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.family import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.packs.pack import load_pack, save_pack
from fairseq_minimodel.packs.plug import plug

transformers = pytest.importorskip("transformers")

TEXTS = modern.TEXTS


class Imported(modern.Imported):
    make = staticmethod(make_euro)

    @staticmethod
    def names_there(names):
        padding, unknown, *_ = RESERVED
        return {
            "<s>": names["bos"], "</s>": names["eos"], "<mask>": names["mask"], "<pad>": padding,
            "<unk>": unknown,
        }  # fmt: skip

    def __init__(self, folder, names=EURO_NAMES, **settings):
        super().__init__(folder, names, **settings)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return Imported(tmp_path_factory.mktemp("euro"))


def test_both_tables_are_the_models_in_the_order_of_the_symbols(imported):
    symbols = imported.pack.symbols
    assert symbols[:4] == ["<s>", "<pad>", "</s>", "<unk>"] and symbols[-1] == "<mask>"
    assert sorted(imported.rows.tolist()) == list(range(len(imported.tokenizer)))
    embedding = imported.model.get_input_embeddings().weight[imported.rows]
    projection = imported.model.get_output_embeddings().weight[imported.rows]
    assert not torch.equal(embedding, projection)
    state, side = imported.checkpoint.state, imported.pack.side
    assert torch.equal(state[EMBEDDING], embedding) and torch.equal(side.embedding, embedding)
    assert torch.equal(state[OUTPUT_PROJECTION], projection)
    assert torch.equal(side.projection, projection) and side.bias is None
    names = load_file(imported.folder / "body/pack/language.safetensors").keys()
    assert names == {"embed_tokens.weight", "lm_head.weight"}


def test_a_text_has_the_ids_hidden_states_and_logits_of_the_model(imported):
    for text in TEXTS[:10]:
        ids = numpy.concatenate([[0], imported.vocabulary.encode(text), [2]])
        assert imported.rows[ids].tolist() == imported.tokenizer(text)["input_ids"]
        ids = torch.tensor(ids)[None]
        imported.compare(ids, torch.ones_like(ids, dtype=torch.bool))


@pytest.mark.parametrize("lengths", [[1], [5], [96], [3, 40, 17, 96], [96, 1]])
def test_any_length_and_any_batch_is_as_in_the_library(imported, lengths):
    imported.compare(*imported.batch(lengths))


@pytest.mark.parametrize(
    "settings",
    [
        {"num_key_value_heads": 1},
        {"num_key_value_heads": 4},
        {"num_hidden_layers": 1},
        {"rms_norm_eps": 1e-2},
        {"rope_theta": 30.0},
        {"max_position_embeddings": 300},
    ],
    ids=str,
)
def test_settings_of_attention_and_norms_are_the_models(tmp_path, settings):
    model = Imported(tmp_path, **settings)
    model.compare(*model.batch([60, 13]))


def test_a_token_for_padding_is_taken_where_there_is_one(tmp_path):
    class WithPadding(Imported):
        @staticmethod
        def names_there(names):
            return Imported.names_there(names) | {"<pad>": "<|pad|>", "<unk>": RESERVED[0]}

    model = WithPadding(tmp_path, EURO_NAMES | {"pad": "<|pad|>"})
    assert sorted(model.rows.tolist()) == list(range(len(model.tokenizer)))
    model.compare(*model.batch([60, 13]))


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (EURO_NAMES, (), r"for several roles \(pad_token among them\), and no reserved token"),
        (EURO_NAMES | {"pad": "<|pad|>"}, (), r"has no <\|unk\|>, which fairseq needs"),
    ],
)
def test_without_a_reserved_token_what_is_missing_is_said(tmp_path, names, more, message):
    make_euro(tmp_path / "model", TEXTS, names=names, more=more)
    with pytest.raises(InputError, match=message):
        import_hf(tmp_path / "model", "xx", tmp_path / "out")


def test_a_model_without_an_mlm_head_gets_a_new_projection(tmp_path, capsys):
    model, tokenizer = make_euro(tmp_path / "model", TEXTS, head="Model")
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    assert "a new MLM head" in capsys.readouterr().out
    checkpoint = read_checkpoint(tmp_path / "body/body.pt")
    symbols = load_pack(tmp_path / "body/pack").symbols
    ids = torch.arange(5, 60)[None]
    theirs = torch.tensor([tokenizer.convert_tokens_to_ids(symbols[5:60])])
    with torch.inference_mode():
        expected = model(theirs).last_hidden_state
        found = build_model(checkpoint, symbols)(ids, features_only=True)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert checkpoint.state[OUTPUT_PROJECTION].std() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_act": "gelu"}, "has hidden_act 'gelu', and fairseq's EuroBERT has 'silu'"),
        ({"tie_word_embeddings": True}, "has tie_word_embeddings True"),
        ({"attention_bias": True}, "has attention_bias True"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3, which does not divide"),
        ({"num_key_value_heads": 4}, "they do not belong together"),
        ({"head_dim": 16}, "has head_dim 16, and minimodel_eurobert has 8 here"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "has rope_parameters of the type 'yarn', and"),
        ({"rope_parameters": None}, "has rope_theta null, which is not a number above 0"),
        ({"rope_scaling": {"factor": 2}}, "has rope_scaling"),
        (
            {"architectures": ["EuroBertForSequenceClassification"]},
            "no head of a task can be imported yet: give a EuroBertForMaskedLM",
        ),
    ],
    ids=str,
)
def test_what_the_model_cannot_express_is_refused_in_one_sentence(
    imported, tmp_path, capsys, settings, message
):
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    modern.changed(tmp_path / "model", **settings)
    arguments = ["--model", tmp_path / "model", "--language", "xx", "--output", tmp_path / "out"]
    assert main(["import-hf", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not (tmp_path / "out").exists()


def test_settings_in_the_form_of_version_4_are_the_same_body_and_its_code_is_not_run(
    imported, tmp_path
):
    """As the published models have them: with code of their own, which nobody reads here."""
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    path = tmp_path / "model/config.json"
    content = json.loads(path.read_text())
    del content["rope_parameters"], content["head_dim"]
    code = "modeling_eurobert.EuroBertForMaskedLM"
    content |= {
        "rope_theta": 250000,
        "rope_scaling": None,
        "auto_map": {"AutoModelForMaskedLM": code},
    }
    path.write_text(json.dumps(content))
    (tmp_path / "model/modeling_eurobert.py").write_text("raise SystemExit('run')")
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    body = read_checkpoint(tmp_path / "body/body.pt")
    assert body.body_settings() == imported.checkpoint.body_settings()
    assert all(
        torch.equal(body.state[name], one) for name, one in imported.checkpoint.state.items()
    )


def test_a_file_that_lacks_a_part_of_the_body_is_refused(imported, tmp_path):
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    state = load_file(tmp_path / "model/model.safetensors")
    del state["model.layers.2.self_attn.k_proj.weight"]
    save_file(state, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack model\.layers\.2\.self_attn\.k_proj\.weight"):
        import_hf(tmp_path / "model", "xx", tmp_path / "out")


# ---- and out again


@pytest.fixture(scope="module")
def exported(imported):
    body, pack = imported.folder / "body/body.pt", imported.folder / "body/pack"
    export_hf(body, pack, imported.folder / "hf")
    return imported.folder / "hf"


def load(folder):
    model, info = transformers.AutoModelForMaskedLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()) and type(model).__name__ == "EuroBertForMaskedLM"
    return model.eval()


def test_an_export_has_the_tensors_settings_logits_and_ids_of_the_model(imported, exported):
    model = load(exported)
    names = (
        "rope_parameters", "rms_norm_eps", "num_attention_heads", "num_key_value_heads", "head_dim",
        "max_position_embeddings", "hidden_act", "tie_word_embeddings", "attention_bias",
    )  # fmt: skip
    for name in names:
        assert getattr(model.config, name) == getattr(imported.model.config, name), name
    ids, real = imported.batch([96, 30])
    with torch.inference_mode():
        found = model(ids, attention_mask=real.long()).logits
        own = imported.model(imported.rows[ids], attention_mask=real.long()).logits
    expected = own[..., imported.rows]
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)
    there = load_file(imported.folder / "model/model.safetensors")
    state = load_file(exported / "model.safetensors")
    assert state.keys() == there.keys()
    for name, tensor in state.items():
        rows = imported.rows if tensor.size(0) == len(imported.rows) else slice(None)
        assert torch.equal(tensor, there[name][rows]), name
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    assert tokenizer.mask_token_id == model.config.mask_token_id == len(imported.rows) - 1
    for text in TEXTS[:10]:
        theirs = imported.tokenizer(text)["input_ids"]
        assert imported.rows[tokenizer(text)["input_ids"]].tolist() == theirs


def test_an_export_comes_in_again_as_the_same_body(imported, exported, tmp_path):
    import_hf(exported, "xx", tmp_path / "body")
    again = read_checkpoint(tmp_path / "body/body.pt")
    assert again.body_settings() == imported.checkpoint.body_settings()
    weights = [name for name in again.state if name not in ("encoder.lineage",)]
    assert all(torch.equal(again.state[name], imported.checkpoint.state[name]) for name in weights)


def test_with_its_body_named_a_model_without_a_head_has_the_lineage_and_the_projection(
    imported, exported, tmp_path
):
    shutil.copytree(exported, tmp_path / "headless")
    state = load_file(exported / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, tmp_path / "headless/model.safetensors", metadata={"format": "pt"})
    import_hf(tmp_path / "headless", "xx", tmp_path / "out", like=imported.folder / "body/body.pt")
    again = read_checkpoint(tmp_path / "out/body.pt").state
    own = read_checkpoint(imported.folder / "body/body.pt").state
    assert again.keys() == own.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in own.items())


# ---- the language of another vocabulary


@pytest.fixture(scope="module")
def other(imported):
    """A pack of a smaller vocabulary, with tables of its own."""
    folder = imported.folder / "other"
    pack = Imported(folder, size=290).pack
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(len(pack.symbols), 32, generator=generator) for _ in range(2)]
    side = LanguageSide(drawn[0], projection=drawn[1])
    about = replace(pack.description, lineage=imported.pack.description.lineage)
    save_pack(folder / "pack", side, about, pack.dictionary, pack.tokenizer)
    return load_pack(folder / "pack")


def test_a_pack_replaces_both_tables_and_goes_out_with_the_body(imported, other, tmp_path):
    plugged, report = plug(imported.checkpoint, other)
    state = plugged.state
    assert torch.equal(state[EMBEDDING], other.side.embedding)
    assert torch.equal(state[OUTPUT_PROJECTION], other.side.projection)
    assert set(report.made) == {EMBEDDING, OUTPUT_PROJECTION}
    for name in report.kept:
        same = torch.equal(state[name], imported.checkpoint.state[name])
        assert same == (name != "encoder.vocabulary"), name
    export_hf(imported.folder / "body/body.pt", other.folder, tmp_path / "hf")
    ids = torch.arange(4, 50)[None]
    with torch.inference_mode():
        found = load(tmp_path / "hf")(ids).logits
        expected = build_model(plugged, other.symbols)(ids)[0]
        whole = imported.ours(ids)[0]
    assert found.shape[-1] == len(other.symbols) < whole.shape[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_pack_of_another_form_is_refused(imported, other, tmp_path):
    tied = LanguageSide(other.side.embedding, torch.zeros(len(other.symbols)))
    save_pack(tmp_path / "tied", tied, other.description, other.dictionary, other.tokenizer)
    with pytest.raises(InputError, match="has an output bias and the body .* an output projection"):
        plug(imported.checkpoint, load_pack(tmp_path / "tied"))


def test_a_pack_whose_tables_do_not_fit_each_other_is_refused(other, tmp_path):
    shutil.copytree(other.folder, tmp_path / "pack")
    path = tmp_path / "pack/language.safetensors"
    state = load_file(path)
    save_file(state | {"lm_head.weight": state["lm_head.weight"][:-1].clone()}, path)
    with pytest.raises(InputError, match="an output projection of shape .* do not belong together"):
        load_pack(tmp_path / "pack")
    save_file({"embed_tokens.weight": state["embed_tokens.weight"]}, path)
    with pytest.raises(InputError, match="it has no lm_head.bias"):
        load_pack(tmp_path / "pack")


def test_a_checkpoint_without_one_of_its_tables_is_refused(imported, tmp_path):
    state = dict(imported.checkpoint.state)
    del state[OUTPUT_PROJECTION]
    write_checkpoint(tmp_path / "body.pt", imported.checkpoint.replaced(state))
    with pytest.raises(InputError, match=r"no encoder\.lm_head\.weight"):
        read_checkpoint(tmp_path / "body.pt").language_side()


def test_a_checkpoint_whose_heads_do_not_share_its_keys_is_refused(imported, tmp_path):
    body = imported.checkpoint.replaced(imported.checkpoint.state, encoder_attention_heads=1)
    write_checkpoint(tmp_path / "body.pt", body)
    with pytest.raises(InputError, match="its keys are 16 wide, and heads of 32"):
        read_checkpoint(tmp_path / "body.pt").body_settings()
