"""ModernBERT comes in and goes out with the same hidden states, logits and ids."""

import json
import shutil

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.huggingface_models import check_symbols, generated_texts
from support.modern_models import NAMES, make_modern

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

transformers = pytest.importorskip("transformers")

TEXTS = generated_texts()
OURS = ("<unk>", "<s>", "</s>", "<pad>", "<mask>")  # in the order of NAMES


class Imported:
    """A model as transformers has it, and what became of it."""

    make = staticmethod(make_modern)

    def __init__(self, folder, names=NAMES, **settings):
        self.folder = folder
        self.model, self.tokenizer = self.make(folder / "model", TEXTS, names=names, **settings)
        import_hf(folder / "model", "xx", folder / "body")
        self.checkpoint = read_checkpoint(folder / "body/body.pt")
        self.pack = load_pack(folder / "body/pack")
        self.vocabulary = Vocabulary(self.pack.tokenizer, self.pack.dictionary)
        theirs = self.names_there(names)
        names = [theirs.get(symbol, symbol) for symbol in self.pack.symbols]
        self.rows = torch.tensor(self.tokenizer.convert_tokens_to_ids(names))  # theirs, of ours
        self.ours = build_model(self.checkpoint, self.pack.symbols)

    @staticmethod
    def names_there(names):
        """Their special tokens by ours."""
        return dict(zip(OURS, names.values(), strict=True))

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


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return Imported(tmp_path_factory.mktemp("modern"))


def test_symbols_are_fairseqs_and_each_is_a_row_of_the_model(imported):
    check_symbols(imported)


def test_a_text_has_the_ids_hidden_states_and_logits_of_the_model(imported):
    for text in TEXTS[:10]:
        ids = numpy.concatenate([[0], imported.vocabulary.encode(text), [2]])
        assert imported.rows[ids].tolist() == imported.tokenizer(text)["input_ids"]
        ids = torch.tensor(ids)[None]
        imported.compare(ids, torch.ones_like(ids, dtype=torch.bool))


@pytest.mark.parametrize("lengths", [[1], [5], [6], [96], [3, 40, 17, 96], [96, 1]])
def test_any_length_and_any_batch_is_as_in_the_library(imported, lengths):
    """Below the local window (4 to each side), beyond it, up to the last position."""
    imported.compare(*imported.batch(lengths))


@pytest.mark.parametrize(
    "settings",
    [
        {"local_attention": 2},
        {"local_attention": 3},
        {"num_hidden_layers": 1},
        {"norm_eps": 1e-3},
        {"layer_types": ["full_attention", "sliding_attention"] * 2 + ["full_attention"]},
        {"layer_types": ["full_attention"] + ["sliding_attention"] * 4},
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
            }
        },
    ],
)
def test_settings_of_attention_are_the_models(tmp_path, settings):
    model = Imported(tmp_path, **settings)
    model.compare(*model.batch([60, 13]))


def test_the_window_of_the_real_models_is_theirs(tmp_path):
    model = Imported(tmp_path, local_attention=128, max_position_embeddings=400)
    model.compare(*model.batch([400, 64, 66, 131]))


def test_special_tokens_may_have_the_names_of_other_tokenizers(tmp_path):
    """As in mmBERT, whose tokenizer is Gemma's: the first and the last are those of a text."""
    tokens = ("<unk>", "<bos>", "<eos>", "<pad>", "<mask>")
    names = dict(zip(("unk", "bos", "eos", "pad", "mask"), tokens, strict=True))
    model = Imported(tmp_path, names)
    assert sorted(model.rows.tolist()) == list(range(len(model.tokenizer)))
    ids = numpy.concatenate([[0], model.vocabulary.encode(TEXTS[0]), [2]])
    assert model.rows[ids].tolist() == model.tokenizer(TEXTS[0])["input_ids"]
    ids = torch.tensor(ids)[None]
    model.compare(ids, torch.ones_like(ids, dtype=torch.bool))


def test_padding_and_neighbours_change_nothing(imported):
    ids, real = imported.batch([30, 7])
    with torch.inference_mode():
        together = imported.ours(ids)[0]
        alone = imported.ours(ids[1:, :7])[0]
        longer = imported.ours(torch.nn.functional.pad(ids, (0, 20), value=1))[0]
    torch.testing.assert_close(alone[0], together[1, :7], rtol=0, atol=1e-6)
    torch.testing.assert_close(longer[:, :30][real], together[real], rtol=0, atol=1e-6)
    assert longer.isfinite().all()


def test_a_model_without_an_mlm_head_gets_a_new_one(tmp_path, capsys):
    model, tokenizer = make_modern(tmp_path / "model", TEXTS, head="Model")
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    assert "a new MLM head" in capsys.readouterr().out
    checkpoint = read_checkpoint(tmp_path / "body/body.pt")
    symbols = load_pack(tmp_path / "body/pack").symbols
    ids = torch.arange(4, 60)[None]
    theirs = torch.tensor([tokenizer.convert_tokens_to_ids(symbols[4:60])])
    with torch.inference_mode():
        expected = model(theirs).last_hidden_state
        found = build_model(checkpoint, symbols)(ids, features_only=True)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert checkpoint.state["encoder.lm_head.dense.weight"].std() == pytest.approx(0.02, rel=0.1)


def changed(folder, **settings):
    """Settings in the config.json of a model, replaced."""
    path = folder / "config.json"
    content = json.loads(path.read_text()) | settings
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm_bias": True}, "has norm_bias True, and fairseq's ModernBERT has False"),
        ({"hidden_activation": "silu"}, "has hidden_activation 'silu'"),
        ({"tie_word_embeddings": False}, "has tie_word_embeddings False"),
        ({"local_attention": 0}, "has local_attention 0, which is not a number above 0"),
        ({"layer_types": ["sliding_attention"] * 5}, "has layer_types, and"),
        ({"layer_types": 3}, "has layer_types, and"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0}}},
            "has rope_parameters of the type 'yarn', and",
        ),
        ({"hidden_size": 64}, "they do not belong together"),
        (
            {"architectures": ["ModernBertForSequenceClassification"]},
            "says that the model is a ModernBertForSequenceClassification, and its weights lack",
        ),
    ],
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


def test_settings_in_the_form_of_version_4_are_the_same_body(imported, tmp_path):
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    path = tmp_path / "model/config.json"
    content = json.loads(path.read_text())
    for name in ("layer_types", "rope_parameters"):
        del content[name]
    content |= {
        "global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "global_attn_every_n_layers": 3,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    body = read_checkpoint(tmp_path / "body/body.pt")
    assert body.body_settings() == imported.checkpoint.body_settings()
    assert all(
        torch.equal(body.state[name], one) for name, one in imported.checkpoint.state.items()
    )


def test_a_file_without_a_part_of_a_joined_module_is_refused(imported, tmp_path):
    shutil.copytree(imported.folder / "model", tmp_path / "model")
    state = load_file(tmp_path / "model/model.safetensors")
    del state["model.layers.2.attn.Wqkv.weight"]
    save_file(state, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack model\.layers\.2\.attn\.Wqkv\.query\.weight"):
        import_hf(tmp_path / "model", "xx", tmp_path / "out")


# ---- and out again


@pytest.fixture(scope="module")
def exported(imported):
    body, pack = imported.folder / "body/body.pt", imported.folder / "body/pack"
    export_hf(body, pack, imported.folder / "hf")
    return imported.folder / "hf"


def test_an_export_has_the_tensors_settings_logits_and_ids_of_the_model(imported, exported):
    model, info = transformers.AutoModelForMaskedLM.from_pretrained(
        exported, output_loading_info=True
    )
    assert not any(info.values()) and type(model).__name__ == "ModernBertForMaskedLM"
    names = (
        "layer_types", "rope_parameters", "local_attention", "norm_eps", "num_attention_heads",
        "max_position_embeddings", "hidden_activation", "norm_bias", "embedding_dropout",
    )  # fmt: skip
    for name in names:
        assert getattr(model.config, name) == getattr(imported.model.config, name), name
    ids, real = imported.batch([96, 30])
    with torch.inference_mode():
        found = model.eval()(ids, attention_mask=real.long()).logits
        own = imported.model(imported.rows[ids], attention_mask=real.long()).logits
    expected = own[..., imported.rows]
    torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)
    there = load_file(imported.folder / "model/model.safetensors")
    for name, tensor in load_file(exported / "model.safetensors").items():
        if tensor.size(0) == len(imported.rows):
            assert torch.equal(tensor, there[name][imported.rows]), name
        else:
            assert torch.equal(tensor, there[name]), name
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    for text in TEXTS[:10]:
        theirs = imported.tokenizer(text, TEXTS[11])["input_ids"]
        assert imported.rows[tokenizer(text, TEXTS[11])["input_ids"]].tolist() == theirs


def test_an_export_comes_in_again_as_the_same_body(imported, exported, tmp_path):
    import_hf(exported, "xx", tmp_path / "body")
    again = read_checkpoint(tmp_path / "body/body.pt")
    assert again.body_settings() == imported.checkpoint.body_settings()
    weights = [name for name in again.state if name not in ("encoder.lineage",)]
    assert all(torch.equal(again.state[name], imported.checkpoint.state[name]) for name in weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"global_every": 0}, "global_every is 0, and it is above 0"),
        ({"local_attention": -8}, "local_attention is -8, and it is above 0"),
        ({"local_rope_theta": "10"}, "local_rope_theta is '10', not a number"),
        ({"max_positions": 0}, "max_positions is 0, and a ModernBERT has no table of positions"),
    ],
)
def test_a_checkpoint_with_settings_that_cannot_be_is_refused(
    imported, tmp_path, capsys, settings, message
):
    body = imported.checkpoint
    write_checkpoint(tmp_path / "body.pt", body.replaced(body.state, **settings))
    arguments = ["--body", str(tmp_path / "body.pt"), "--depth", "5"]
    shutil.copyfile(imported.folder / "body/dict.txt", tmp_path / "dict.txt")
    assert main(["truncate", *arguments, "--output", str(tmp_path / "out.pt")]) == 2
    error = capsys.readouterr().err
    assert message in error and str(tmp_path / "body.pt") in error


def test_a_checkpoint_of_another_form_than_its_family_is_refused(imported, tmp_path):
    state = dict(imported.checkpoint.state)
    del state["encoder.sentence_encoder.layers.2.gate.weight"]
    write_checkpoint(tmp_path / "body.pt", imported.checkpoint.replaced(state))
    with pytest.raises(InputError, match=r"not a complete ModernBERT: it lacks .*2\.gate\.weight"):
        read_checkpoint(tmp_path / "body.pt")
