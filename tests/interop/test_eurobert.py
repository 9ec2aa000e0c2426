"""The two tables of a EuroBERT come in, go out and are replaced, and so do its special tokens."""

import shutil
from dataclasses import replace

import pytest
import torch
from interop.test_modern import TEXTS, Imported, exported, load
from safetensors.torch import load_file, save_file
from support.modern_models import EURO, EURO_NAMES, make_euro

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.bodies.tensors import EMBEDDING, OUTPUT_PROJECTION
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.packs.pack import load_pack, save_pack
from fairseq_minimodel.packs.plug import plug


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return Imported(tmp_path_factory.mktemp("euro"), EURO)


def test_both_tables_are_the_models_in_the_order_of_the_symbols(imported):
    embedding = imported.model.get_input_embeddings().weight[imported.rows]
    projection = imported.model.get_output_embeddings().weight[imported.rows]
    assert not torch.equal(embedding, projection)
    state, side = imported.checkpoint.state, imported.pack.side
    assert torch.equal(state[EMBEDDING], embedding) and torch.equal(side.embedding, embedding)
    assert torch.equal(state[OUTPUT_PROJECTION], projection)
    assert torch.equal(side.projection, projection) and side.bias is None
    names = load_file(imported.folder / "body/pack/language.safetensors").keys()
    assert names == {"embed_tokens.weight", "lm_head.weight"}


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


def test_with_its_body_named_a_model_without_a_head_has_the_lineage_and_the_projection(
    imported, tmp_path
):
    shutil.copytree(exported(imported), tmp_path / "headless")
    state = load_file(tmp_path / "headless/model.safetensors")
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
    pack = Imported(folder, EURO, size=290).pack
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
        found = load(tmp_path / "hf", EURO)(ids).logits
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
