"""Models of the BERT family come in and go out with the same hidden states, logits and ids."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from conftest import OPTIMISER, USER_DIR, run
from safetensors.torch import load_file, save_file
from support.bert_models import CLASSES, make_bert, write_vocabulary
from support.huggingface_models import (
    HARD,
    LANGUAGES,
    check_symbols,
    generated_texts,
    make_model,
    sampled,
    train_sentencepiece,
)

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.fit import check_fits
from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.bodies.surgery import extend, truncate
from fairseq_minimodel.bodies.tensors import OUTPUT_BIAS, POSITIONS, SECOND_TEXT
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.kinds.classification import token_sequences
from fairseq_minimodel.kinds.window_options import WindowOptions
from fairseq_minimodel.kinds.windows import AligningVocabulary, make_windows
from fairseq_minimodel.packs.pack import load_pack, save_pack
from fairseq_minimodel.packs.plug import plug
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols
from fairseq_minimodel.vocabulary.tokenizers import (
    Vocabulary,
    dictionary_pieces,
    load_sentencepiece,
    write_dictionary,
)

transformers = pytest.importorskip("transformers")

KINDS = ("bert", "distilbert", "electra")
TEXTS = generated_texts()
NAMES = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
HEAD = "sentence_classification_head"
LABELS = ("travel", "sports", "politics")


class Imported:
    """A model as transformers has it, and what became of it."""

    def __init__(self, folder, model, tokenizer):
        self.folder, self.model, self.tokenizer = folder, model, tokenizer
        import_hf(folder / "model", "xx", folder / "body")
        self.checkpoint = read_checkpoint(folder / "body/body.pt")
        self.pack = load_pack(folder / "body/pack")
        self.vocabulary = AligningVocabulary(self.pack.tokenizer, self.pack.dictionary)
        names = [NAMES.get(symbol, symbol) for symbol in self.pack.symbols]
        self.rows = torch.tensor(tokenizer.convert_tokens_to_ids(names))  # theirs, of ours
        self.ours = build_model(self.checkpoint, self.pack.symbols)


@pytest.fixture(scope="module", params=KINDS)
def imported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return Imported(folder, *make_bert(folder / "model", request.param, TEXTS))


def hidden_states(model, ids, **options):
    """After every layer, the embeddings first, (layers, batch, length, width), as we compute them."""
    with torch.inference_mode():
        states = model(ids, features_only=True, return_all_hiddens=True, **options)[1]
    return torch.stack([one.transpose(0, 1) for one in states["inner_states"]])


def test_symbols_are_fairseqs_and_each_is_a_row_of_the_model(imported):
    check_symbols(imported)


def test_logits_hidden_states_and_ids_are_the_models_own(imported):
    for text in TEXTS[:20]:
        ids = numpy.concatenate([[0], imported.vocabulary.encode(text), [2]])
        theirs = imported.tokenizer(text, return_tensors="pt")
        assert imported.rows[ids].tolist() == theirs["input_ids"][0].tolist()
        theirs.pop("token_type_ids", None)
        with torch.inference_mode():
            expected = imported.model(**theirs, output_hidden_states=True)
            logits = imported.ours(torch.tensor(ids)[None])[0]
        assert expected.logits.std() > 0.1
        torch.testing.assert_close(logits, expected.logits[..., imported.rows], rtol=0, atol=1e-5)
        torch.testing.assert_close(
            hidden_states(imported.ours, torch.tensor(ids)[None]),
            torch.stack(expected.hidden_states), rtol=0, atol=1e-5,
        )  # fmt: skip


def test_the_second_text_of_a_pair_has_token_type_1(imported):
    """In a batch with padding, whose hidden states do not matter."""
    pairs = list(zip(TEXTS[:6], TEXTS[6:12], strict=True))
    pairs[2] = (pairs[2][0], "ba")
    sequences, _ = token_sequences(pairs, imported.vocabulary, {"init_token": 0})
    ids = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(one) for one in sequences], batch_first=True, padding_value=1
    )
    theirs = imported.tokenizer(
        *map(list, zip(*pairs, strict=True)), return_tensors="pt", padding=True
    )
    assert imported.rows[ids].tolist() == theirs["input_ids"].tolist()
    if imported.checkpoint.family.name == "DistilBERT":
        theirs.pop("token_type_ids", None)
    with torch.inference_mode():
        expected = torch.stack(imported.model(**theirs, output_hidden_states=True).hidden_states)
    real = theirs["attention_mask"].bool()
    typed = hidden_states(imported.ours, ids, pairs=True)
    torch.testing.assert_close(typed[:, real], expected[:, real], rtol=0, atol=1e-5)
    untyped = hidden_states(imported.ours, ids)
    types_matter = not torch.allclose(untyped[:, real], expected[:, real], atol=1e-2)
    assert types_matter == (imported.checkpoint.family.name != "DistilBERT")


def test_text_is_cut_as_the_models_own_tokenizer_cuts_it(imported):
    for text in [*TEXTS[:50], *HARD, "[CLS] [MASK] x", "<s> <mask>", "\u00c9t\u00e9 STRASSE"]:
        own = imported.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        assert imported.rows[imported.vocabulary.encode(text)].tolist() == own["input_ids"], text


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
    ],
)
def test_a_vocabulary_without_tokenizer_json_is_enough(tmp_path, settings):
    _, tokenizer = make_bert(tmp_path / "model", "bert", [*TEXTS, *HARD], lowercase=False)
    import_hf(tmp_path / "model", "xx", tmp_path / "whole")
    write_vocabulary(tmp_path / "model", tokenizer, **settings)
    own = transformers.BertTokenizerFast.from_pretrained(tmp_path / "model")
    assert own.backend_tokenizer.normalizer.lowercase == settings.get("do_lower_case", True)
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    assert (tmp_path / "body/dict.txt").read_bytes() == (tmp_path / "whole/dict.txt").read_bytes()
    pack = load_pack(tmp_path / "body/pack")
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    for text in [*TEXTS[:20], *HARD, "\u00c9t\u00e9 STRASSE"]:
        ids = [
            NAMES.get(pack.symbols[index], pack.symbols[index]) for index in vocabulary.encode(text)
        ]
        assert ids == own.tokenize(text), text


def spoilt(origin, folder, change):
    """A copy of a model whose tensors `change` has changed."""
    shutil.copytree(origin, folder)
    state = change(load_file(folder / "model.safetensors"))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert") / "model"
    make_bert(folder, "bert", TEXTS)
    return folder


def test_names_of_other_versions_are_the_same_body(bert, tmp_path, capsys):
    parts = {"weight": "LayerNorm.gamma", "bias": "LayerNorm.beta"}

    def former(state):
        state = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
        state["cls.predictions.decoder.bias"] = state.pop("cls.predictions.bias")
        state["embeddings.position_ids"] = torch.arange(64)[None]
        state["pooler.dense.weight"] = torch.zeros(32, 32)
        return {
            re.sub(r"LayerNorm\.(weight|bias)", lambda part: parts[part[1]], name): tensor
            for name, tensor in state.items()
        }

    import_hf(bert, "xx", tmp_path / "now")
    import_hf(spoilt(bert, tmp_path / "model", former), "xx", tmp_path / "then")
    assert "left out: bert.pooler.dense.weight" in capsys.readouterr().out
    now, then = (read_checkpoint(tmp_path / name / "body.pt").state for name in ("now", "then"))
    assert now.keys() == then.keys() and all(torch.equal(now[name], then[name]) for name in now)


def test_a_model_without_an_mlm_head_gets_a_new_one(tmp_path, capsys):
    model, _ = make_bert(tmp_path / "model", "bert", TEXTS, head="Model")
    lines = "ba ba ba be", "be ba [MASK]"
    (tmp_path / "text.txt").write_text("\n\n".join(lines))
    command = ["import-hf", "--model", tmp_path / "model", "--language", "xx", "--output"]
    assert main([str(part) for part in [*command, tmp_path / "a"]]) == 0
    assert "a new MLM head" in capsys.readouterr().out
    counted = [*command, tmp_path / "b", "--text", tmp_path / "text.txt", tmp_path / "text.txt"]
    assert main([str(part) for part in counted]) == 0
    without, counts = (read_checkpoint(tmp_path / name / "body.pt").state for name in "ab")
    assert without["encoder.lineage"].equal(counts["encoder.lineage"])
    for name in without.keys() - {OUTPUT_BIAS}:
        assert torch.equal(without[name], counts[name]), name
    assert without["encoder.lm_head.dense.weight"].std() == pytest.approx(0.02, rel=0.1)
    assert (without["encoder.lm_head.layer_norm.weight"] == 1).all()
    assert not without[OUTPUT_BIAS].any()
    pack = load_pack(tmp_path / "b/pack")
    assert torch.equal(pack.side.bias, counts[OUTPUT_BIAS])
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    ids = numpy.concatenate([vocabulary.encode(line) for line in lines])
    found = 2 * numpy.bincount(ids, minlength=len(pack.symbols))
    expected = numpy.log((found + 1) / (found + 1).sum())
    numpy.testing.assert_allclose(counts[OUTPUT_BIAS].numpy(), expected, rtol=1e-6)
    ids = torch.tensor([[0, 9, 30, 12, 7, 2]])
    rows = torch.tensor(
        transformers.AutoTokenizer.from_pretrained(tmp_path / "model").convert_tokens_to_ids(
            [NAMES.get(symbol, symbol) for symbol in pack.symbols]
        )
    )
    with torch.inference_mode():
        expected = model(rows[ids]).last_hidden_state
        ours = build_model(read_checkpoint(tmp_path / "b/body.pt"), pack.symbols)(
            ids, features_only=True
        )[0]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    (tmp_path / "table.txt").write_text("id,text\n1,ba be\n")
    capsys.readouterr()
    sentence = refused([*command, tmp_path / "c", "--text", tmp_path / "table.txt"], capsys)
    assert "table.txt is a table (CSV), not running text" in sentence
    assert not (tmp_path / "c").exists()


def refused(command, capsys):
    assert main([str(part) for part in command]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def changed_config(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


def test_what_cannot_come_in_is_refused_in_a_sentence(bert, tmp_path, capsys):
    model = shutil.copytree(bert, tmp_path / "model")
    command = ["import-hf", "--model", model, "--language", "xx", "--output", tmp_path / "out"]
    (tmp_path / "text.txt").write_text("ba")
    assert "has one: leave --text out" in refused(
        [*command, "--text", tmp_path / "text.txt"], capsys
    )
    changed_config(model, hidden_act="relu")
    assert "fairseq's BERT has 'gelu'" in refused(command, capsys)
    changed_config(model, hidden_act="gelu", model_type="electra", embedding_size=16)
    assert "token embeddings have another width" in refused(command, capsys)
    changed_config(model, model_type="bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    write_vocabulary(model, tokenizer, tokenizer_class="BertJapaneseTokenizer")
    assert "has a BertJapaneseTokenizer" in refused(command, capsys)
    write_vocabulary(model, tokenizer)
    lines = (model / "vocab.txt").read_text().replace("[MASK]", "[M]")
    (model / "vocab.txt").write_text(lines)
    assert "has no [MASK], which fairseq needs" in refused(command, capsys)
    (model / "bpe.codes").write_text("b a</w> 9\n")
    assert "has the tokenizer of PhoBERT and BERTweet (bpe.codes)" in refused(command, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]


# ---- eps


def test_every_layer_norm_has_the_eps_of_the_body(bert, tmp_path):
    changed = shutil.copytree(bert, tmp_path / "model")
    changed_config(changed, layer_norm_eps=1e-3)
    import_hf(changed, "xx", tmp_path / "body")
    body, pack = read_checkpoint(tmp_path / "body/body.pt"), load_pack(tmp_path / "body/pack")
    made = extend(body, 1, 1)[0]
    for checkpoint in (body, plug(body, pack)[0], made, truncate(made, 2)[0]):
        model = build_model(checkpoint, pack.symbols)
        norms = [one for one in model.modules() if isinstance(one, torch.nn.LayerNorm)]
        assert len(norms) == 2 + 2 * checkpoint.layers
        assert {one.eps for one in norms} == {1e-3}


def test_the_lean_path_has_the_eps_of_the_body(bert, tmp_path):
    changed = shutil.copytree(bert, tmp_path / "model")
    changed_config(changed, layer_norm_eps=1e-3)
    import_hf(changed, "xx", tmp_path / "body")
    pack = load_pack(tmp_path / "body/pack")
    plain = read_checkpoint(tmp_path / "body/body.pt")
    lean = plain.replaced(plain.state, freeze="body")
    ids = torch.tensor([[0, 9, 30, 12, 7, 2]])
    masked = ids.eq(30)
    model = build_model(plain, pack.symbols)
    frozen = build_frozen(lean, pack)
    with torch.inference_mode():
        expected, found = model(ids, masked_tokens=masked)[0], frozen(ids, masked_tokens=masked)[0]
    assert frozen.encoder.frozen.kept
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def build_frozen(checkpoint, pack):
    from types import SimpleNamespace

    from omegaconf import OmegaConf

    from fairseq_minimodel.models.config import dictionary_of
    from fairseq_minimodel.models.minimodel_roberta import MiniModelRoberta, MiniModelRobertaConfig

    config = OmegaConf.structured(MiniModelRobertaConfig)
    config.update({**checkpoint.body_settings(), "freeze": "body"})
    task = SimpleNamespace(source_dictionary=dictionary_of(pack.symbols))
    model = MiniModelRoberta.build_model(config, task)
    model.load_state_dict(dict(checkpoint.state))
    return model.eval()


def test_a_roberta_with_another_eps_comes_in_and_goes_out(tmp_path):
    make_model(tmp_path / "model", "xlmr", TEXTS)
    changed_config(tmp_path / "model", layer_norm_eps=1e-3)
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    import_hf(tmp_path / "model", "xx", tmp_path / "body")
    pack = load_pack(tmp_path / "body/pack")
    export_hf(tmp_path / "body/body.pt", pack.folder, tmp_path / "back")
    back = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "back")
    ids = torch.tensor([[0, 9, 30, 12, 7, 2]])
    with torch.inference_mode():
        expected = model(ids).logits
        ours = build_model(read_checkpoint(tmp_path / "body/body.pt"), pack.symbols)(ids)[0]
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(back(ids).logits, expected, rtol=0, atol=0)


def test_a_run_with_another_eps_or_other_pairs_is_refused(imported):
    body = imported.checkpoint
    settings, rows = body.body_settings(), len(imported.pack.symbols)
    for separators in (None, 1):
        check_fits(body, settings, rows, [], separators)
    with pytest.raises(InputError, match=r"layer-norm-eps 1e-12.*: give --layer-norm-eps 1e-12"):
        check_fits(body, {**settings, "layer_norm_eps": 1e-5}, rows, [], None)
    with pytest.raises(InputError, match="leave out --separator-token"):
        check_fits(body, settings, rows, [], 2)


# ---- out again


def load(kind, folder):
    """A model of the library; nothing may be missing that belongs to its class."""
    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    return model.eval()


def with_head(imported, folder, names, task, **settings):
    """The body with a head of random weights, as a checkpoint; of a classifier with its labels."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(4)
    head = {name: torch.randn(*shape, generator=generator) for name, shape in names.items()}
    if "label" not in task:
        (folder / "label").mkdir()
        (folder / "label/dict.txt").write_text("".join(f"{label} 1\n" for label in LABELS))
    body = imported.checkpoint.replaced({**imported.checkpoint.state, **head}, **settings)
    config = {**body.config, "task": {**task, "data": str(folder)}}
    write_checkpoint(folder / "body.pt", replace(body, config=config))
    return read_checkpoint(folder / "body.pt")


CLASSIFIER = {
    f"classification_heads.{HEAD}.{name}": shape
    for name, shape in {
        "dense.weight": (32, 32), "dense.bias": (32,),
        "out_proj.weight": (3, 32), "out_proj.bias": (3,),
    }.items()
}  # fmt: skip
OF_PAIRS = {"_name": "sentence_prediction", "init_token": 0, "separator_token": None}


def test_a_masked_language_model_goes_out_as_it_came(imported, tmp_path):
    export_hf(imported.folder / "body/body.pt", imported.pack.folder, tmp_path / "out")
    back = load("AutoModelForMaskedLM", tmp_path / "out")
    assert type(back) is type(imported.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for first, second in zip(TEXTS[:5], TEXTS[5:10], strict=True):
        theirs = imported.tokenizer(first, second, return_tensors="pt")
        ours = tokenizer(first, second, return_tensors="pt")
        assert imported.rows[ours["input_ids"]].equal(theirs["input_ids"])
        if imported.checkpoint.family.name == "DistilBERT":
            theirs.pop("token_type_ids", None)
            assert "token_type_ids" not in ours
        else:
            assert ours["token_type_ids"].equal(theirs["token_type_ids"])
        with torch.inference_mode():
            expected = imported.model(**theirs).logits[..., imported.rows]
            torch.testing.assert_close(back(**ours).logits, expected, rtol=0, atol=1e-5)
    import_hf(tmp_path / "out", "xx", tmp_path / "again")
    again = read_checkpoint(tmp_path / "again/body.pt").state
    for name, tensor in imported.checkpoint.state.items():
        torch.testing.assert_close(
            again[name], tensor, rtol=0, atol=0 if name != POSITIONS else 1e-7
        )


@pytest.mark.parametrize("own_pooler", [True, False])
def test_a_classifier_of_pairs_predicts_the_same(imported, tmp_path, own_pooler):
    """With its family's pooler in its family's form; with tanh as a BERT."""
    family = imported.checkpoint.family
    pooler = family.pooler_activation if own_pooler else "tanh"
    body = with_head(
        imported, tmp_path / "tuned", CLASSIFIER, OF_PAIRS, pooler_activation_fn=pooler
    )
    export_hf(tmp_path / "tuned/body.pt", imported.pack.folder, tmp_path / "out")
    back = load("AutoModelForSequenceClassification", tmp_path / "out")
    kind = CLASSES[family.byte_level_type] if own_pooler else "Bert"
    assert type(back).__name__ == f"{kind}ForSequenceClassification"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    pairs = list(zip(TEXTS[:5], TEXTS[5:10], strict=True))
    sequences, _ = token_sequences(pairs, imported.vocabulary, body.config["task"])
    model = build_model(body, imported.pack.symbols)
    for pair, ids in zip(pairs, sequences, strict=True):
        ours = tokenizer(*pair, return_tensors="pt")
        assert ours["input_ids"][0].tolist() == ids.tolist()
        with torch.inference_mode():
            expected = model(torch.from_numpy(ids)[None], classification_head_name=HEAD)[0]
            torch.testing.assert_close(back(**ours).logits, expected, rtol=0, atol=1e-5)


def test_an_answerer_gives_the_same_scores(imported, tmp_path):
    names = {"span_head.weight": (2, 32), "span_head.bias": (2,)}
    body = with_head(imported, tmp_path / "tuned", names, {"_name": "span_qa"})
    export_hf(tmp_path / "tuned/body.pt", imported.pack.folder, tmp_path / "out")
    back = load("AutoModelForQuestionAnswering", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = build_model(body, imported.pack.symbols)
    ids = [imported.vocabulary.encode(text) for text in TEXTS[:2]]
    options = WindowOptions(max_length=60, max_question=30, separators=body.pair_separators)
    [window] = make_windows(*ids, options)
    theirs = tokenizer(*TEXTS[:2], return_tensors="pt")
    assert theirs["input_ids"][0].tolist() == window.tokens.tolist()
    with torch.inference_mode():
        scores = model(torch.from_numpy(window.tokens)[None], span_scores=True)[0]
        found = back(**theirs)
    for place, logits in enumerate((found.start_logits, found.end_logits)):
        torch.testing.assert_close(logits, scores[..., place], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_language_of_sentencepiece_goes_out_over_the_body(imported, tmp_path):
    train_sentencepiece(tmp_path / "pieces.model", TEXTS, 200)
    pieces = [
        piece for piece, _ in dictionary_pieces(load_sentencepiece(tmp_path / "pieces.model"))
    ]
    write_dictionary(tmp_path / "dict.txt", pieces, [0] * len(pieces))
    symbols = read_symbols(tmp_path / "dict.txt")
    side = LanguageSide(torch.randn(len(symbols), 32), torch.randn(len(symbols)))
    description = replace(
        imported.pack.description, vocabulary=fingerprint(symbols), vocabulary_size=len(symbols)
    )
    save_pack(
        tmp_path / "pack", side, description, tmp_path / "dict.txt", tmp_path / "pieces.model"
    )
    pack = load_pack(tmp_path / "pack")
    body = with_head(imported, tmp_path / "tuned", CLASSIFIER, OF_PAIRS)
    export_hf(tmp_path / "tuned/body.pt", pack.folder, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    ours = tokenizer(TEXTS[0], TEXTS[1], return_tensors="pt")
    [ids], _ = token_sequences([TEXTS[:2]], vocabulary, body.config["task"])
    assert ours["input_ids"][0].tolist() == ids.tolist()
    second = len(vocabulary.encode(TEXTS[1])) + 1
    assert ours["token_type_ids"][0].tolist() == [0] * (len(ids) - second) + [1] * second
    model = build_model(plug(body, pack)[0], pack.symbols)
    back = load("AutoModelForSequenceClassification", tmp_path / "out")
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids)[None], classification_head_name=HEAD)[0]
        torch.testing.assert_close(back(**ours).logits, expected, rtol=0, atol=1e-5)


# ---- training


@pytest.mark.slow
def test_a_run_on_pairs_keeps_the_family_of_its_body(bert, tmp_path):
    """Token types are trained on, the checkpoint is of the family, and another layout is refused."""
    import_hf(bert, "xx", tmp_path / "body")
    pack = load_pack(tmp_path / "body/pack")
    rows = [f"{TEXTS[i]}\t{TEXTS[i + 40]}\t{LABELS[i % 3]}\n" for i in range(40)]
    (tmp_path / "pairs.tsv").write_text("".join(rows), encoding="utf-8")
    command = [
        "prepare-classification", "--train", tmp_path / "pairs.tsv", "--valid", tmp_path / "pairs.tsv",
        "--text-columns", "1", "2", "--label-column", "3", "--sentencepiece-model", pack.tokenizer,
        "--dict", pack.dictionary, "--output", tmp_path / "data",
    ]  # fmt: skip
    assert main([str(part) for part in command]) == 0
    training = [
        "fairseq-train", tmp_path / "data", "--user-dir", USER_DIR, *OPTIMISER, "--task",
        "sentence_prediction", "--criterion", "sentence_prediction", "--init-token", "0",
        "--num-classes", "3", "--arch", "minimodel_roberta", "--encoder-layers", "3",
        "--encoder-embed-dim", "32", "--encoder-ffn-embed-dim", "48", "--encoder-attention-heads", "4",
        "--layer-norm-eps", "1e-12", "--max-positions", "64", "--batch-size", "8", "--max-update", "2",
        "--freeze", "language", "--finetune-from-model", tmp_path / "body/body.pt", "--save-dir",
    ]  # fmt: skip
    wrong = run([*training, tmp_path / "wrong", "--separator-token", "2"])
    assert wrong.returncode == 2 and "leave out --separator-token" in wrong.stderr.splitlines()[-1]
    result = run([*training, tmp_path / "run"])
    assert result.returncode == 0, result.stderr
    before, after = (
        read_checkpoint(path)
        for path in (tmp_path / "body/body.pt", tmp_path / "run/checkpoint_last.pt")
    )
    assert after.family is before.family and after.family.name == "BERT"
    assert after.body_settings()["layer_norm_eps"] == 1e-12
    moved = (after.state[POSITIONS] != before.state[POSITIONS]).any(dim=1)
    assert moved[SECOND_TEXT] and not moved[1]


# ---- a real model


@pytest.mark.slow
def test_a_real_model_has_the_same_ids_and_hidden_states(shared_data, tmp_path):
    """The folder of a model of the family without an MLM head, such as all-MiniLM-L6-v2."""
    if "FAIRSEQ_MINIMODEL_BERT" not in os.environ:
        pytest.skip("FAIRSEQ_MINIMODEL_BERT names no model")
    origin = Path(os.environ["FAIRSEQ_MINIMODEL_BERT"])
    import_hf(origin, "en", tmp_path / "body")
    pack, body = load_pack(tmp_path / "body/pack"), read_checkpoint(tmp_path / "body/body.pt")
    tokenizer = transformers.AutoTokenizer.from_pretrained(origin)
    theirs = transformers.AutoModel.from_pretrained(origin).eval()
    ours, vocabulary = build_model(body, pack.symbols), Vocabulary(pack.tokenizer, pack.dictionary)
    rows = torch.tensor(
        tokenizer.convert_tokens_to_ids([NAMES.get(symbol, symbol) for symbol in pack.symbols])
    )
    for language in LANGUAGES:
        texts = sampled(shared_data, language, 100)
        found = tokenizer(texts, add_special_tokens=False)["input_ids"]
        for text, own in zip(texts, found, strict=True):
            assert rows[vocabulary.encode(text)].tolist() == own, text
        [ids], _ = token_sequences([texts[:2]], vocabulary, {"init_token": 0}, longest=120)
        second = ids.tolist().index(2) + 1
        types = torch.tensor([[0] * second + [1] * (len(ids) - second)])
        with torch.inference_mode():
            expected = theirs(rows[ids][None], token_type_ids=types, output_hidden_states=True)
        typed = hidden_states(ours, torch.from_numpy(ids)[None], pairs=True)
        torch.testing.assert_close(typed, torch.stack(expected.hidden_states), rtol=1e-5, atol=1e-5)
