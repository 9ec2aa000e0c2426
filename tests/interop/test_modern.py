"""ModernBERT and EuroBERT come in and go out with the same hidden states, logits and ids."""

import functools
import json
import shutil

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.huggingface_models import check_symbols, generated_texts
from support.modern_models import EURO, EURO_NAMES, MODERN, RESERVED, of_each_kind

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf, is_new_head
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

transformers = pytest.importorskip("transformers")

TEXTS = generated_texts()
OURS = ("<unk>", "<s>", "</s>", "<pad>", "<mask>")  # in the order of a ModernBERT's names


class Imported:
    """A model as transformers has it, and what became of it."""

    def __init__(self, folder, kind, names=None, **settings):
        self.folder, names = folder, names or kind.names
        self.model, self.tokenizer = kind.make(folder / "model", TEXTS, names=names, **settings)
        import_hf(folder / "model", "xx", folder / "body")
        self.checkpoint = read_checkpoint(folder / "body/body.pt")
        self.pack = load_pack(folder / "body/pack")
        self.vocabulary = Vocabulary(self.pack.tokenizer, self.pack.dictionary)
        theirs = names_there(kind, names)
        names = [theirs.get(symbol, symbol) for symbol in self.pack.symbols]
        self.rows = torch.tensor(self.tokenizer.convert_tokens_to_ids(names))  # theirs, of ours
        self.ours = build_model(self.checkpoint, self.pack.symbols)

    def batch(self, lengths):
        """Random ids of ours, right-padded, and which are real."""
        generator = torch.Generator().manual_seed(7)
        ids = torch.randint(4, len(self.rows), (len(lengths), max(lengths)), generator=generator)
        real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        return ids.masked_fill(~real, 1), real

    def compare(self, ids, real, atol=1e-5):
        """Logits and hidden states of the real positions are those of transformers."""
        theirs = {"input_ids": self.rows[ids], "attention_mask": real.long()}
        with torch.inference_mode():
            expected = self.model(**theirs, output_hidden_states=True)
            logits = self.ours(ids)[0]
            extra = self.ours(ids, features_only=True, return_all_hiddens=True)[1]
        inner = torch.stack([one.transpose(0, 1) for one in extra["inner_states"]])
        assert expected.logits.std() > 0.1
        assert len(expected.hidden_states) == len(inner)
        torch.testing.assert_close(
            logits[real], expected.logits[..., self.rows][real], rtol=0, atol=atol
        )
        torch.testing.assert_close(
            inner[:, real], torch.stack(expected.hidden_states)[:, real], rtol=0, atol=atol
        )


def names_there(kind, names):
    """Their special tokens by ours."""
    if kind is MODERN:
        return dict(zip(OURS, names.values(), strict=True))
    reserved = iter(RESERVED)
    padding = next(reserved) if names["pad"] == names["eos"] else names["pad"]
    theirs = (next(reserved), names["bos"], names["eos"], padding, names["mask"])
    return dict(zip(OURS, theirs, strict=True))


@pytest.fixture(scope="module")
def imported_of(tmp_path_factory):
    """Imports a model of a kind, once."""
    return functools.cache(lambda kind: Imported(tmp_path_factory.mktemp(str(kind)), kind))


@pytest.fixture
def imported(kind, imported_of):
    return imported_of(kind)


@of_each_kind
def test_symbols_are_fairseqs_and_each_is_a_row_of_the_model(imported):
    check_symbols(imported)


@of_each_kind
def test_a_text_has_the_ids_hidden_states_and_logits_of_the_model(imported):
    for text in TEXTS[:10]:
        ids = numpy.concatenate([[0], imported.vocabulary.encode(text), [2]])
        assert imported.rows[ids].tolist() == imported.tokenizer(text)["input_ids"]
        ids = torch.tensor(ids)[None]
        imported.compare(ids, torch.ones_like(ids, dtype=torch.bool))


@of_each_kind
@pytest.mark.parametrize("lengths", [[1], [5], [6], [96], [3, 40, 17, 96], [96, 1]])
def test_any_length_and_any_batch_is_as_in_the_library(imported, lengths):
    """Below a local window (4 to each side), beyond it, up to the last position."""
    imported.compare(*imported.batch(lengths))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MODERN, {"local_attention": 2}),
        (MODERN, {"local_attention": 3}),
        (MODERN, {"num_hidden_layers": 1}),
        (MODERN, {"norm_eps": 1e-3}),
        (MODERN, {"layer_types": ["full_attention", "sliding_attention"] * 2 + ["full_attention"]}),
        (MODERN, {"layer_types": ["full_attention"] + ["sliding_attention"] * 4}),
        (
            MODERN,
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
                }
            },
        ),
        (EURO, {"num_key_value_heads": 1}),
        (EURO, {"num_key_value_heads": 4}),
        (EURO, {"num_hidden_layers": 1}),
        (EURO, {"rms_norm_eps": 1e-2}),
        (EURO, {"rope_theta": 30.0}),
        (EURO, {"max_position_embeddings": 300}),
    ],
    ids=str,
)
def test_settings_of_attention_and_norms_are_the_models(tmp_path, kind, settings):
    model = Imported(tmp_path, kind, **settings)
    model.compare(*model.batch([60, 13]))


def test_the_window_of_the_real_models_is_theirs(tmp_path):
    model = Imported(tmp_path, MODERN, local_attention=128, max_position_embeddings=400)
    model.compare(*model.batch([400, 64, 66, 131]))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        # as in mmBERT, whose tokenizer is Gemma's: the first and the last are those of a text
        (
            MODERN,
            {"unk": "<unk>", "bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "mask": "<mask>"},
        ),
        (EURO, EURO_NAMES | {"pad": "<|pad|>"}),  # a token for padding alone
    ],
    ids=str,
)
def test_special_tokens_may_have_other_names(tmp_path, kind, names):
    model = Imported(tmp_path, kind, names)
    assert sorted(model.rows.tolist()) == list(range(len(model.tokenizer)))
    ids = numpy.concatenate([[0], model.vocabulary.encode(TEXTS[0]), [2]])
    assert model.rows[ids].tolist() == model.tokenizer(TEXTS[0])["input_ids"]
    model.compare(*model.batch([60, 13]))


@of_each_kind
def test_padding_and_neighbours_change_nothing(imported):
    ids, real = imported.batch([30, 7])
    with torch.inference_mode():
        together = imported.ours(ids)[0]
        alone = imported.ours(ids[1:, :7])[0]
        longer = imported.ours(torch.nn.functional.pad(ids, (0, 20), value=1))[0]
    torch.testing.assert_close(alone[0], together[1, :7], rtol=0, atol=1e-6)
    torch.testing.assert_close(longer[:, :30][real], together[real], rtol=0, atol=1e-6)
    assert longer.isfinite().all()


@of_each_kind
def test_a_model_without_an_mlm_head_gets_a_new_one(tmp_path, capsys, kind):
    model, tokenizer = kind.make(tmp_path / "model", TEXTS, head="Model")
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
    assert is_new_head(checkpoint)
    if kind is EURO:
        assert torch.equal(checkpoint.state[OUTPUT_PROJECTION], checkpoint.state[EMBEDDING])
    else:
        drawn = checkpoint.state["encoder.lm_head.dense.weight"]
        assert drawn.std() == pytest.approx(0.02, rel=0.1)


def changed(folder, *left_out, **settings):
    """Settings in the config.json of a model, replaced or left out."""
    path = folder / "config.json"
    content = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({name: content[name] for name in content if name not in left_out}))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (MODERN, {"norm_bias": True}, "has norm_bias True, and fairseq's ModernBERT has False"),
        (MODERN, {"hidden_activation": "silu"}, "has hidden_activation 'silu'"),
        (MODERN, {"tie_word_embeddings": False}, "has tie_word_embeddings False"),
        (MODERN, {"local_attention": 0}, "has local_attention 0, which is not a number above 0"),
        (MODERN, {"layer_types": ["sliding_attention"] * 5}, "has layer_types, and"),
        (MODERN, {"layer_types": 3}, "has layer_types, and"),
        (
            MODERN,
            {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0}}},
            "has rope_parameters of the type 'yarn', and",
        ),
        (MODERN, {"hidden_size": 64}, "they do not belong together"),
        (
            MODERN,
            {"architectures": ["ModernBertForSequenceClassification"]},
            "says that the model is a ModernBertForSequenceClassification, and its weights lack",
        ),
        (EURO, {"hidden_act": "gelu"}, "hidden_act 'gelu', and fairseq's EuroBERT has 'silu'"),
        (EURO, {"tie_word_embeddings": True}, "has tie_word_embeddings True"),
        (EURO, {"attention_bias": True}, "has attention_bias True"),
        (EURO, {"num_key_value_heads": 3}, "num_key_value_heads 3, which does not divide"),
        (EURO, {"num_key_value_heads": 4}, "they do not belong together"),
        (EURO, {"head_dim": 16}, "has head_dim 16, and minimodel_eurobert has 8 here"),
        (EURO, {"rope_parameters": {"rope_type": "yarn"}}, "of the type 'yarn', and"),
        (EURO, {"rope_parameters": None}, "has rope_theta null, which is not a number above 0"),
        (EURO, {"rope_scaling": {"factor": 2}}, "has rope_scaling"),
        (
            EURO,
            {"architectures": ["EuroBertForSequenceClassification"]},
            "says that the model is a EuroBertForSequenceClassification, and its weights lack",
        ),
    ],
    ids=str,
)
def test_what_the_model_cannot_express_is_refused_in_one_sentence(
    imported, tmp_path, capsys, settings, message
):
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    changed(tmp_path / "model", **settings)
    arguments = ["--model", tmp_path / "model", "--language", "xx", "--output", tmp_path / "out"]
    assert main(["import-hf", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "new", "settings"),
    [
        (
            MODERN,
            ("layer_types", "rope_parameters"),
            {
                "global_rope_theta": 160000.0,
                "local_rope_theta": 10000.0,
                "global_attn_every_n_layers": 3,
            },
        ),
        (
            EURO,
            ("rope_parameters", "head_dim"),
            {
                "rope_theta": 250000,
                "rope_scaling": None,
                "auto_map": {"AutoModelForMaskedLM": "modeling_eurobert.EuroBertForMaskedLM"},
            },
        ),
    ],
    ids=str,
)
def test_settings_in_the_form_of_version_4_are_the_same_body_and_no_code_is_run(
    imported, tmp_path, new, settings
):
    """The published EuroBERTs come with code of their own, which nobody reads here."""
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    changed(tmp_path / "model", *new, **settings)
    (tmp_path / "model/modeling_eurobert.py").write_text("raise SystemExit('run')")
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    body = read_checkpoint(tmp_path / "body/body.pt")
    assert body.body_settings() == imported.checkpoint.body_settings()
    assert all(
        torch.equal(body.state[name], one) for name, one in imported.checkpoint.state.items()
    )


@pytest.mark.parametrize(
    ("kind", "lost", "message"),
    [
        (MODERN, "attn.Wqkv.weight", r"lack model\.layers\.2\.attn\.Wqkv\.query\.weight"),
        (EURO, "self_attn.k_proj.weight", r"lack model\.layers\.2\.self_attn\.k_proj\.weight"),
    ],
    ids=str,
)
def test_a_file_that_lacks_a_part_of_the_body_is_refused(imported, tmp_path, lost, message):
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    state = load_file(tmp_path / "model/model.safetensors")
    del state[f"model.layers.2.{lost}"]
    save_file(state, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=message):
        import_hf(tmp_path / "model", "xx", tmp_path / "out")


# ---- and out again


def load(folder, kind):
    """What the library makes of a folder of a masked language model."""
    model, info = transformers.AutoModelForMaskedLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()) and type(model).__name__ == f"{kind.classes}ForMaskedLM"
    return model.eval()


def exported(imported):
    """The folder of its body, written once."""
    folder = imported.folder / "hf"
    if not folder.exists():
        export_hf(imported.folder / "body/body.pt", imported.folder / "body/pack", folder)
    return folder


SETTINGS = {
    MODERN: (
        "layer_types", "rope_parameters", "local_attention", "norm_eps", "num_attention_heads",
        "max_position_embeddings", "hidden_activation", "norm_bias", "embedding_dropout",
        "classifier_pooling",
    ),
    EURO: (
        "rope_parameters", "rms_norm_eps", "num_attention_heads", "num_key_value_heads", "head_dim",
        "max_position_embeddings", "hidden_act", "tie_word_embeddings", "attention_bias",
        "classifier_pooling",
    ),
}  # fmt: skip


@of_each_kind
def test_an_export_has_the_tensors_settings_logits_and_ids_of_the_model(kind, imported):
    folder = exported(imported)
    model = load(folder, kind)
    for name in SETTINGS[kind]:
        assert getattr(model.config, name) == getattr(imported.model.config, name), name
    ids, real = imported.batch([96, 30])
    with torch.inference_mode():
        found = model(ids, attention_mask=real.long()).logits
        own = imported.model(imported.rows[ids], attention_mask=real.long()).logits
    expected = own[..., imported.rows]
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)
    there = load_file(imported.folder / "model/model.safetensors")
    state = load_file(folder / "model.safetensors")
    assert state.keys() == there.keys()
    for name, tensor in state.items():
        rows = imported.rows if tensor.size(0) == len(imported.rows) else slice(None)
        assert torch.equal(tensor, there[name][rows]), name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.mask_token_id == len(imported.rows) - 1
    assert getattr(model.config, "mask_token_id", None) in (None, tokenizer.mask_token_id)
    for text in TEXTS[:10]:
        theirs = imported.tokenizer(text, TEXTS[11])["input_ids"]
        assert imported.rows[tokenizer(text, TEXTS[11])["input_ids"]].tolist() == theirs


@of_each_kind
def test_an_export_comes_in_again_as_the_same_body(imported, tmp_path):
    import_hf(exported(imported), "xx", tmp_path / "body")
    again = read_checkpoint(tmp_path / "body/body.pt")
    assert again.body_settings() == imported.checkpoint.body_settings()
    assert not is_new_head(again)
    weights = [name for name in again.state if name not in ("encoder.lineage",)]
    assert all(torch.equal(again.state[name], imported.checkpoint.state[name]) for name in weights)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (MODERN, {"global_every": 0}, "global_every is 0, and it is above 0"),
        (MODERN, {"local_attention": -8}, "local_attention is -8, and it is above 0"),
        (MODERN, {"local_rope_theta": "10"}, "local_rope_theta is '10', not a number"),
        (MODERN, {"max_positions": 0}, "max_positions is 0, and a ModernBERT has no table of"),
        (EURO, {"encoder_attention_heads": 1}, "its keys are 16 wide, and heads of 32"),
    ],
    ids=str,
)
def test_a_checkpoint_with_settings_that_cannot_be_is_refused(
    imported, tmp_path, capsys, settings, message
):
    body = imported.checkpoint
    write_checkpoint(tmp_path / "body.pt", body.replaced(body.state, **settings))
    arguments = ["--body", str(tmp_path / "body.pt"), "--depth", str(body.layers)]
    shutil.copyfile(imported.folder / "body/dict.txt", tmp_path / "dict.txt")
    assert main(["truncate", *arguments, "--output", str(tmp_path / "out.pt")]) == 2
    error = capsys.readouterr().err
    assert message in error and str(tmp_path / "body.pt") in error


@of_each_kind
def test_a_checkpoint_of_another_form_than_its_family_is_refused(kind, imported, tmp_path):
    state = dict(imported.checkpoint.state)
    del state["encoder.sentence_encoder.layers.2.gate.weight"]
    write_checkpoint(tmp_path / "body.pt", imported.checkpoint.replaced(state))
    with pytest.raises(InputError, match=rf"not a complete {kind}: it lacks .*2\.gate\.weight"):
        read_checkpoint(tmp_path / "body.pt")
