"""Models that were fine-tuned with Hugging Face's library come in with their heads, and go out."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.bert_models import CLASSES, make_bert
from support.huggingface_models import generated_texts, make_model, train_sentencepiece

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.identity import decode, lineage_of, with_identity
from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.bodies.tensors import (
    EMBEDDING,
    HEAD,
    LINEAGE,
    OUTPUT_BIAS,
    OUTPUT_PROJECTION,
)
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.kinds.classification import DEFAULT_HEAD, token_sequences
from fairseq_minimodel.packs.pack import Description, load_pack, save_pack
from fairseq_minimodel.vocabulary.symbols import fingerprint, read_symbols
from fairseq_minimodel.vocabulary.tokenizers import (
    Vocabulary,
    dictionary_pieces,
    load_sentencepiece,
    write_dictionary,
)

transformers = pytest.importorskip("transformers")

WORDS = ("ba", "ki", "so")  # each, four times before a text, stands for a topic
TEXTS = [f"{4 * f'{WORDS[row % 3]} '}{text}" for row, text in enumerate(generated_texts())]
LABELS = ["travel", "sports and games", "politics"]
CLASSIFIER, ANSWERER = (
    "AutoModelForSequenceClassification",
    "AutoModelForQuestionAnswering",
)


def label_of(text):
    """Index of the label of a text."""
    return WORDS.index(text[:2])


def fine_tuned(folder, output, kind, frozen=True, steps=40):
    """Train a head, and the body with it, by a plain loop; the token embeddings stay if `frozen`."""
    torch.manual_seed(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    labels = {} if kind == ANSWERER else {"id2label": dict(enumerate(LABELS))}
    model = getattr(transformers, kind).from_pretrained(folder, **labels)
    model.get_input_embeddings().weight.requires_grad_(not frozen)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=3e-3)
    for step in range(steps):
        texts = TEXTS[8 * step % 320 :][:8]
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        if kind == ANSWERER:
            goal = {"start_positions": torch.ones(8).long(), "end_positions": torch.ones(8).long()}
        else:
            goal = {"labels": torch.tensor([label_of(text) for text in texts])}
        model(**inputs, **goal).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval().save_pretrained(output)
    tokenizer.save_pretrained(output)
    return model


def write_pack(folder, lineage, width):
    """A pack of another language, with random embeddings."""
    folder.mkdir()
    train_sentencepiece(folder / "spm.model", [text[::-1] for text in TEXTS], 200)
    pieces = [piece for piece, _ in dictionary_pieces(load_sentencepiece(folder / "spm.model"))]
    write_dictionary(folder / "dict.txt", pieces, [1] * len(pieces))
    symbols = read_symbols(folder / "dict.txt")
    generator = torch.Generator().manual_seed(9)
    side = LanguageSide(
        torch.randn(len(symbols), width, generator=generator),
        torch.randn(len(symbols), generator=generator),
    )
    about = Description("yy", lineage, fingerprint(symbols), len(symbols), width, depth=3)
    save_pack(folder / "pack", side, about, folder / "dict.txt", folder / "spm.model")
    return folder / "pack"


@pytest.fixture(scope="module", params=["roberta fast", "camembert fast", "bert"])
def folder(request, tmp_path_factory):
    """base/ and its body; classifier/, made of it, and its body; other/pack, of the same lineage."""
    return made(tmp_path_factory.mktemp("tuned"), request.param)


def made(folder, style):
    (make_bert if style in CLASSES else make_model)(folder / "base", style, TEXTS)
    import_hf(folder / "base", "xx", folder / "body")
    fine_tuned(folder / "base", folder / "classifier", CLASSIFIER)
    import_hf(folder / "classifier", "xx", folder / "topics", like=folder / "body/body.pt")
    body = read_checkpoint(folder / "body/body.pt")
    write_pack(folder / "other", lineage_of(body.state), body.language_side().width)
    return folder


def run(*arguments):
    assert main([str(one) for one in arguments]) == 0


def library_logits(folder, rows):
    """What the library gives for each text or pair."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model, info = getattr(transformers, CLASSIFIER).from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"]
    with torch.inference_mode():
        logits = [model.eval()(**tokenizer(*row, return_tensors="pt")).logits[0] for row in rows]
    return torch.stack(logits), [model.config.id2label[index] for index in range(len(LABELS))]


def own_logits(body, pack, rows):
    checkpoint, pack = read_checkpoint(body), load_pack(pack)
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    sequences, _ = token_sequences(rows, vocabulary, checkpoint.config["task"])
    model = build_model(checkpoint, pack.symbols)
    with torch.inference_mode():
        found = [
            model(torch.tensor(one)[None], classification_head_name=DEFAULT_HEAD)[0][0]
            for one in sequences
        ]
    return torch.stack(found)


ROWS = [(text,) for text in TEXTS[-20:]] + [(TEXTS[i], TEXTS[-i]) for i in range(1, 20)]


def test_a_classifier_has_the_logits_of_the_library(folder):
    expected, labels = library_logits(folder / "classifier", ROWS)
    assert labels == LABELS
    found = own_logits(folder / "topics/body.pt", folder / "topics/pack", ROWS)
    assert expected.std(dim=0).min() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("style", ["distilbert", "electra"])
def test_so_it_is_with_heads_of_other_forms(tmp_path, style):
    """They have another activation, which a folder of the same form has again."""
    folder = made(tmp_path, style)
    test_a_classifier_has_the_logits_of_the_library(folder)
    export_hf(folder / "topics/body.pt", folder / "topics/pack", folder / "back")
    expected, _ = library_logits(folder / "classifier", ROWS)
    found, _ = library_logits(folder / "back", ROWS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert json.loads((folder / "back/config.json").read_text())["model_type"] == style


def test_it_belongs_to_the_body_and_has_its_mlm_head(folder):
    base, topics = (read_checkpoint(folder / name / "body.pt") for name in ("body", "topics"))
    assert lineage_of(base.state) == lineage_of(topics.state)
    for name, tensor in base.state.items():
        same = torch.equal(tensor, topics.state[name])
        kept = name in (EMBEDDING, OUTPUT_BIAS) or name.startswith(HEAD)
        assert same or not kept, name
    changed = "encoder.sentence_encoder.layers.2.fc2.weight"
    assert not torch.equal(base.state[changed], topics.state[changed])
    for name in ("dict.txt", "pack/dict.txt", "pack/language.json"):
        files = [(folder / one / name).read_bytes() for one in ("body", "topics")]
        assert files[0] == files[1], name
    pack = load_pack(folder / "topics/pack")
    assert pack.tokenizer.read_bytes() == load_pack(folder / "body/pack").tokenizer.read_bytes()


def test_evaluate_predict_plug_and_fairseq_work_on_it(folder, tmp_path, capsys):
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    rows = [(text,) for text in TEXTS[-80:]]
    logits, labels = library_logits(folder / "classifier", rows)
    expected = [labels[index] for index in logits.argmax(dim=1)]
    lines = [f"{text}\t{labels[label_of(text)]}" for (text,) in rows]
    (tmp_path / "test.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for (text,) in rows))
    body, pack = folder / "topics/body.pt", folder / "topics/pack"
    run("evaluate", "--body", body, "--test", pack, tmp_path / "test.tsv",
        "--json", tmp_path / "scores.json")  # fmt: skip
    [score] = json.loads((tmp_path / "scores.json").read_text())
    right = [label == labels[label_of(text)] for label, (text,) in zip(expected, rows, strict=True)]
    assert score["correct"] == sum(right) and len(set(expected)) > 1
    run("predict", "--body", body, "--pack", pack, "--input", tmp_path / "lines.txt",
        "--output", tmp_path / "out.jsonl")  # fmt: skip
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["prediction"]["label"] for row in found] == expected
    run("plug", "--body", body, "--pack", folder / "other/pack", "--output", tmp_path / "plugged")
    assert (tmp_path / "plugged/label/dict.txt").read_text().splitlines()[1] == f"{LABELS[1]} 0"
    for path in (body, tmp_path / "plugged/model.pt"):
        data = {"data": str(path.parent)}
        (model,), _, task = load_model_ensemble_and_task([str(path)], arg_overrides=data)
        assert model.classification_heads[DEFAULT_HEAD].out_proj.out_features == 3
        assert list(task.label_dictionary.symbols[4:7]) == LABELS
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_pack_goes_straight_into_the_folder(folder, tmp_path):
    """The same as by way of a body, and not less: transformers has its own logits again."""
    pack, like = folder / "other/pack", folder / "body/body.pt"
    run("export-hf", "--model", folder / "classifier", "--like", like, "--pack", pack,
        "--output", tmp_path / "straight")  # fmt: skip
    (tmp_path / "by body").mkdir()
    export_hf(folder / "topics/body.pt", pack, tmp_path / "by body/straight")
    for path in (tmp_path / "by body/straight").iterdir():
        other = tmp_path / "straight" / path.name
        assert path.name == "README.md" or path.read_bytes() == other.read_bytes(), path.name
    rows = [(text[::-1],) for (text, *_) in ROWS]
    expected, labels = library_logits(tmp_path / "straight", rows)
    run("plug", "--body", folder / "topics/body.pt", "--pack", pack, "--output", tmp_path / "yy")
    found = own_logits(tmp_path / "yy/model.pt", pack, rows)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert labels == LABELS and found.std(dim=0).min() > 0.01


def test_without_the_body_a_pack_does_not_fit_and_nothing_is_written(folder, tmp_path, capsys):
    arguments = ["--model", folder / "classifier", "--pack", folder / "other/pack"]
    output = ["--output", tmp_path / "out"]
    assert main(["export-hf", *map(str, [*arguments, *output])]) == 2
    assert "fine-tuned from (--like BODY)" in capsys.readouterr().err
    both = ["--body", folder / "topics/body.pt", "--like", folder / "body/body.pt"]
    assert main(["export-hf", *map(str, [*both, *arguments[2:], *output])]) == 2
    assert "--model, perhaps with --like" in capsys.readouterr().err
    text = ["import-hf", "--language", "xx", "--like", folder / "body/body.pt", "--text", __file__]
    assert main([*map(str, [*text, *arguments[:2], *output])]) == 2
    assert "leave --text out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_our_own_export_comes_back_by_bits(folder, tmp_path):
    export_hf(folder / "topics/body.pt", folder / "topics/pack", tmp_path / "hf")
    like = folder / "topics/body.pt"
    import_hf(tmp_path / "hf", "xx", tmp_path / "back", like=like)
    before, after = (read_checkpoint(path) for path in (like, tmp_path / "back/body.pt"))
    assert before.state.keys() == after.state.keys()
    assert all(torch.equal(tensor, after.state[name]) for name, tensor in before.state.items())
    for name in before.config["task"].keys() - {"data"}:
        assert before.config["task"][name] == after.config["task"][name]
    files = [sorted(str(one.relative_to(path)) for one in path.rglob("*"))
             for path in (folder / "topics", tmp_path / "back")]  # fmt: skip
    assert files[0] == files[1]
    import_hf(tmp_path / "hf", "xx", tmp_path / "alone")
    alone = read_checkpoint(tmp_path / "alone/body.pt").state
    assert alone.keys() == after.state.keys()
    differing = {name for name in alone if not torch.equal(alone[name], after.state[name])}
    assert differing <= {"encoder.lineage", "encoder.vocabulary"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """base/ and its body, in one style alone."""
    folder = tmp_path_factory.mktemp("small")
    make_model(folder / "base", "xlmr fast", TEXTS)
    import_hf(folder / "base", "xx", folder / "body")
    return folder


def test_moved_token_embeddings_are_counted(small, tmp_path, capsys):
    model = fine_tuned(small / "base", tmp_path / "moved", CLASSIFIER, frozen=False, steps=2)
    own = model.get_input_embeddings().weight
    before = read_checkpoint(small / "body/body.pt").state[EMBEDDING]
    moved = int((own != before).any(dim=1).sum())
    arguments = ["--model", tmp_path / "moved", "--language", "xx", "--output", tmp_path / "out",
                 "--like", small / "body/body.pt"]  # fmt: skip
    assert main(["import-hf", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert f"{moved} of {len(own)} rows" in said and "token embeddings frozen" in said
    assert moved > 10 and not (tmp_path / "out").exists()


def test_rows_in_another_order_are_not_those_of_the_body(small, tmp_path):
    from fairseq_minimodel.errors import InputError

    fine_tuned(small / "base", tmp_path / "model", CLASSIFIER, steps=1)
    path = tmp_path / "model/tokenizer.json"
    content = json.loads(path.read_text())
    pieces = content["model"]["vocab"]
    pieces[20], pieces[30] = pieces[30], pieces[20]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="^2 of 278 rows"):
        import_hf(tmp_path / "model", "xx", tmp_path / "out", like=small / "body/body.pt")


def test_pieces_that_the_dictionary_of_the_body_lacks_do_not_matter(small, tmp_path):
    """`export-hf` adds rows for them, which the body has not; they are gone again."""
    body, symbols = read_checkpoint(small / "body/body.pt"), load_pack(small / "body/pack").symbols
    train_sentencepiece(tmp_path / "spm.model", TEXTS, 270)
    pieces = dictionary_pieces(load_sentencepiece(tmp_path / "spm.model"))
    kept = [piece for piece, _ in pieces][5:]
    write_dictionary(tmp_path / "dict.txt", kept, [1] * len(kept))
    shutil.copyfile(tmp_path / "spm.model", tmp_path / "sentencepiece.bpe.model")
    symbols = read_symbols(tmp_path / "dict.txt")
    cut = {name: body.state[name][: len(symbols)].clone() for name in (EMBEDDING, OUTPUT_BIAS)}
    tied = {OUTPUT_PROJECTION: cut[EMBEDDING]}
    state = with_identity({**body.state, **cut, **tied}, "0123456789abcdef", fingerprint(symbols))
    write_checkpoint(tmp_path / "body.pt", body.replaced(state))
    run("pack", "--checkpoint", tmp_path / "body.pt", "--language", "xx",
        "--output", tmp_path / "pack")  # fmt: skip
    export_hf(tmp_path / "body.pt", tmp_path / "pack", tmp_path / "hf")
    model = fine_tuned(tmp_path / "hf", tmp_path / "model", CLASSIFIER, steps=2)
    assert model.config.vocab_size == len(symbols) + 5
    import_hf(tmp_path / "model", "xx", tmp_path / "out", like=tmp_path / "body.pt")
    found = read_checkpoint(tmp_path / "out/body.pt").state
    assert all(torch.equal(found[name], tensor) for name, tensor in cut.items())
    assert decode(found[LINEAGE]) == "0123456789abcdef"


def test_an_answerer_keeps_its_head(small, tmp_path):
    model = fine_tuned(small / "base", tmp_path / "model", ANSWERER)
    import_hf(tmp_path / "model", "xx", tmp_path / "body", like=small / "body/body.pt")
    checkpoint, pack = read_checkpoint(tmp_path / "body/body.pt"), load_pack(tmp_path / "body/pack")
    ids = torch.tensor([[0, 9, 30, 2, 2, 12, 7, 2]])
    with torch.inference_mode():
        expected = model(ids)
        found = build_model(checkpoint, pack.symbols)(ids, span_scores=True)[0]
    for place, scores in enumerate((expected.start_logits, expected.end_logits)):
        assert scores.std() > 0.01
        torch.testing.assert_close(found[..., place], scores, rtol=0, atol=1e-5)
    run("plug", "--body", tmp_path / "body/body.pt", "--pack", pack.folder, "--output",
        tmp_path / "plugged")  # fmt: skip
    export_hf(tmp_path / "body/body.pt", pack.folder, tmp_path / "hf")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "hf"))
    assert torch.equal(before["qa_outputs.weight"], after["qa_outputs.weight"])
    row = {"question": TEXTS[0], "context": TEXTS[1]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    run("predict", "--body", tmp_path / "body/body.pt", "--pack", pack.folder, "--input",
        tmp_path / "rows.jsonl", "--output", tmp_path / "out.jsonl", "--max-length", "60",
        "--max-question", "20")  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("AutoModelForMultipleChoice", {}, "head of XLMRobertaForMultipleChoice is left out"),
        (CLASSIFIER, {"num_labels": 1}, "gives a number, not a label"),
        (CLASSIFIER, {"problem_type": "multi_label_classification"}, "its problem_type is"),
    ],
)  # fmt: skip
def test_other_heads_are_left_out_with_a_note(small, tmp_path, capsys, kind, settings, said):
    model = getattr(transformers, kind).from_pretrained(small / "base", **settings)
    shutil.copytree(small / "base", tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    import_hf(tmp_path / "model", "xx", tmp_path / "body", like=small / "body/body.pt")
    assert said in capsys.readouterr().out
    body = read_checkpoint(tmp_path / "body/body.pt")
    assert not any("classif" in name or "span" in name for name in body.state)
    assert not (tmp_path / "body/label").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "not those of the 3 classes"),
        ({"id2label": {"0": "a", "1": "a", "2": "c"}}, "the label 'a'"),
        ({"id2label": {"0": "a\nb", "1": "b", "2": "c"}}, "the label 'a.nb'"),
        ({"id2label": {"0": "a", "1": 7, "2": "c"}}, "the label 7"),
        ({"id2label": {"0": "a", "1": "<s>", "2": "c"}}, "the label '<s>'"),
        ({"id2label": ["a", "b", "c"]}, "not those of the 3 classes"),
        ({"architectures": ["XLMRobertaForQuestionAnswering"]}, "weights lack qa_outputs.weight"),
        ({"architectures": [1]}, "has the architectures"),
        ({"hidden_size": 64}, "shape"),
    ],
)  # fmt: skip
def test_damaged_heads_are_one_sentence(small, tmp_path, capsys, change, sentence):
    import re

    fine_tuned(small / "base", tmp_path / "model", CLASSIFIER, steps=0)
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps({**config, **change}))
    arguments = ["--model", tmp_path / "model", "--language", "xx", "--output", tmp_path / "out"]
    assert main(["import-hf", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert re.search(sentence, said) and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_head_of_another_shape_is_named(small, tmp_path, capsys):
    fine_tuned(small / "base", tmp_path / "model", CLASSIFIER, steps=0)
    path = tmp_path / "model/model.safetensors"
    save_file({**load_file(path), "classifier.dense.weight": torch.ones(32, 31)}, path)
    arguments = ["--model", tmp_path / "model", "--language", "xx", "--output", tmp_path / "out"]
    assert main(["import-hf", *map(str, arguments)]) == 2
    assert "classifier.dense.weight of" in capsys.readouterr().err
