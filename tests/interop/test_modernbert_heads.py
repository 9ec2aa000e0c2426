"""Heads of tasks over ModernBERT come in from Hugging Face's library and go out, with equal scores."""

import json
import shutil

import pytest
import torch
from interop.test_modern import TEXTS, Imported, changed
from safetensors.torch import load_file, save_file
from support.modern_models import MODERN

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.family import EMBEDDING, HEAD
from fairseq_minimodel.bodies.identity import lineage_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.kinds.classification import DEFAULT_HEAD

transformers = pytest.importorskip("transformers")

CLASSES = {0: "travel", 1: "sports and games", 2: "politics"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
# by a name for each: the end of the library's class, and settings
CASES = {
    "cls": ("ForSequenceClassification", {"id2label": CLASSES, "classifier_pooling": "cls"}),
    "mean": ("ForSequenceClassification", {"id2label": CLASSES, "classifier_pooling": "mean"}),
    "tags": ("ForTokenClassification", {"id2label": TAGS}),
    "questions": ("ForQuestionAnswering", {}),
}


@pytest.fixture(scope="module", params=CASES)
def tuned(request, tmp_path_factory):
    """A model with random weights, its body here, and hf/, that body written."""
    head, settings = CASES[request.param]
    folder = tmp_path_factory.mktemp("tuned")
    model = Imported(folder, MODERN, head=head, norm_eps=1e-4, **settings)
    model.case = request.param
    export_hf(folder / "body/body.pt", folder / "body/pack", folder / "hf")
    return model


def theirs(model, ids, mask):
    """The scores of the library: batch x classes, or batch x length x outputs."""
    with torch.inference_mode():
        found = model(ids, attention_mask=mask.long())
    if "logits" in found:
        return found.logits
    return torch.stack([found.start_logits, found.end_logits], dim=-1)


def ours(model, case, ids):
    heads = {"tags": {"token_head": "tag_head"}, "questions": {"span_scores": True}}
    with torch.inference_mode():
        return model(ids, **heads.get(case, {"classification_head_name": DEFAULT_HEAD}))[0]


def close(case, found, expected, real):
    if case in ("tags", "questions"):  # at padding they mean nothing
        found, expected = found[real], expected[real]
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[12], [96, 3, 40, 1]])
def test_scores_are_the_models_own(tuned, lengths):
    ids, real = tuned.batch(lengths)
    close(
        tuned.case,
        ours(tuned.ours, tuned.case, ids),
        theirs(tuned.model, tuned.rows[ids], real),
        real,
    )


def test_an_export_has_the_scores_and_nothing_is_lost_or_made_up(tuned):
    end, settings = CASES[tuned.case]
    kind = getattr(transformers, f"AutoModel{end}")
    model, info = kind.from_pretrained(tuned.folder / "hf", output_loading_info=True)
    assert not any(info.values()) and type(model).__name__ == f"ModernBert{end}"
    config = json.loads((tuned.folder / "hf/config.json").read_text())
    assert config["architectures"] == [f"ModernBert{end}"]
    if "id2label" in settings:
        assert model.config.id2label == settings["id2label"]
    assert model.config.classifier_pooling == settings.get("classifier_pooling", "cls")
    ids, real = tuned.batch([50, 7])
    expected = theirs(tuned.model, tuned.rows[ids], real)
    close(tuned.case, theirs(model.eval(), ids, real), expected, real)
    again = tuned.folder / "again"
    import_hf(tuned.folder / "hf", "xx", again)
    state = read_checkpoint(again / "body.pt").state
    for name, tensor in tuned.checkpoint.state.items():
        assert name == "encoder.lineage" or torch.equal(state[name], tensor), name


def test_texts_are_read_by_the_head(tuned):
    model = fairseq_minimodel.load(tuned.folder / "body/body.pt", tuned.folder / "body/pack")
    inputs = tuned.tokenizer(TEXTS[0], return_tensors="pt")
    mask = torch.ones_like(inputs["input_ids"])
    scores = theirs(tuned.model, inputs["input_ids"], mask)
    if tuned.case in ("cls", "mean"):
        [found] = model.predict([TEXTS[0]])
        names, shares = list(CLASSES.values()), scores[0].softmax(-1).tolist()
        assert found.probabilities == pytest.approx(dict(zip(names, shares, strict=True)), abs=1e-5)
    elif tuned.case == "tags":
        best = [TAGS[int(one)] for one in scores[0].argmax(-1)]
        kinds = {one.label for one in model.tag([TEXTS[0]])[0]}
        assert kinds <= {tag[2:] for tag in best} and best
    else:
        sizes = {"max_length": 96, "stride": 20, "max_question": 40}
        [[found]] = model.answer([TEXTS[1]], [TEXTS[0]], **sizes)
        assert found.text and found.text in TEXTS[0]


# ---- a model that was fine-tuned from a body


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A masked language model, its body, and a classifier made of it, with the same embeddings."""
    folder = tmp_path_factory.mktemp("base")
    imported = Imported(folder, MODERN)
    settings = {"id2label": CLASSES, "classifier_pooling": "mean"}
    kind = transformers.AutoModelForSequenceClassification
    torch.manual_seed(5)
    model = kind.from_pretrained(folder / "model", **settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "tok_embeddings" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    imported.classifier = model.eval()
    model.save_pretrained(folder / "classifier")
    imported.tokenizer.save_pretrained(folder / "classifier")
    import_hf(folder / "classifier", "xx", folder / "topics", like=folder / "body/body.pt")
    return imported


def test_it_has_the_lineage_and_the_mlm_head_of_the_body_that_it_is_like(base):
    found = read_checkpoint(base.folder / "topics/body.pt")
    assert lineage_of(found.state) == lineage_of(base.checkpoint.state)
    for name, tensor in base.checkpoint.state.items():
        if name.startswith(HEAD) or name == EMBEDDING:
            assert torch.equal(found.state[name], tensor), name
    ids, real = base.batch([30, 9])
    scores = ours(build_model(found, base.pack.symbols), "mean", ids)
    close("mean", scores, theirs(base.classifier, base.rows[ids], real), real)


def test_a_pack_goes_straight_into_it(base, tmp_path):
    """As `adapt --tasks` has it."""
    export_hf(
        None, base.folder / "body/pack", tmp_path / "hf", model=base.folder / "classifier",
        like=base.folder / "body/body.pt",
    )  # fmt: skip
    kind = transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(tmp_path / "hf").eval()
    assert model.config.id2label == CLASSES and model.config.classifier_pooling == "mean"
    ids, real = base.batch([30, 9])
    expected = theirs(base.classifier, base.rows[ids], real)
    close("mean", theirs(model, ids, real), expected, real)


def test_evaluate_scores_it_as_the_library_does(base, tmp_path):
    lines = []
    for text in TEXTS[:12]:
        ids = base.tokenizer(text, return_tensors="pt")["input_ids"]
        best = theirs(base.classifier, ids, torch.ones_like(ids)).argmax()
        lines.append(f"{text}\t{CLASSES[int(best)]}\n")
    (tmp_path / "test.tsv").write_text("text\tlabel\n" + "".join(lines))
    body = base.folder / "topics"
    arguments = ["--body", body / "body.pt", "--test", body / "pack", tmp_path / "test.tsv"]
    assert main(["evaluate", *map(str, arguments), "--json", str(tmp_path / "scores.json")]) == 0
    [row] = json.loads((tmp_path / "scores.json").read_text())
    assert row["examples"] == 12 and row["accuracy"] == 1


def spoilt(base, folder, change, **settings):
    """A copy of the classifier, with other tensors or settings."""
    shutil.copytree(base.folder / "classifier", folder)
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    changed(folder, **settings)
    return folder


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            lambda state: None,
            {"classifier_pooling": "max"},
            "has classifier_pooling 'max', and minimodel_modernbert has 'cls' or 'mean'",
        ),
        (
            lambda state: state.pop("classifier.bias"),
            {},
            "says that the model is a ModernBertForSequenceClassification, and its weights lack "
            "classifier.bias",
        ),
        (
            lambda state: state.update({"head.norm.weight": torch.ones(5)}),
            {},
            "head.norm.weight of {} has the shape (5,), which is not that of a head for "
            "text-classification",
        ),
        (lambda state: None, {"id2label": {"0": "a"}}, "has labels (id2label) that are not those"),
        (lambda state: None, {"classifier_activation": "relu"}, "classifier_activation 'relu'"),
        (lambda state: None, {"classifier_bias": True}, "has classifier_bias True"),
    ],
)
def test_what_cannot_come_in_is_one_sentence(base, tmp_path, capsys, change, settings, message):
    folder = spoilt(base, tmp_path / "model", change, **settings)
    arguments = ["--model", folder, "--language", "xx", "--output", tmp_path / "out"]
    assert main(["import-hf", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert message.format(folder) in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "outputs", "note"),
    [
        ({"architectures": ["ModernBertForMultipleChoice"]}, 1, "there is no such kind of task"),
        ({"problem_type": "multi_label_classification"}, 3, "classification here gives one label"),
        ({}, 1, "and so gives a number"),
    ],
)
def test_another_head_is_left_out_and_no_part_of_it_is_an_mlm_head(
    base, tmp_path, capsys, settings, outputs, note
):
    def change(state):
        for name in ("classifier.weight", "classifier.bias"):
            state[name] = state[name][:outputs].contiguous()

    folder = spoilt(base, tmp_path / "model", change, **settings)
    import_hf(folder, "xx", tmp_path / "out")
    said = capsys.readouterr().out
    assert note in said and "a new MLM head" in said
    state = read_checkpoint(tmp_path / "out/body.pt").state
    assert not any("head" in name for name in state if not name.startswith(HEAD))
    assert not torch.equal(
        state[f"{HEAD}dense.weight"], load_file(folder / "model.safetensors")["head.dense.weight"]
    )


def test_a_model_that_does_not_say_what_its_head_is_for_comes_in_without(base, tmp_path, capsys):
    folder = spoilt(base, tmp_path / "model", lambda state: None, architectures=None)
    import_hf(folder, "xx", tmp_path / "out")
    assert "left out: classifier.bias, classifier.weight" in capsys.readouterr().out


# ---- a body that was fine-tuned here


def with_heads(base, folder, *heads, **settings):
    """A checkpoint of the body with new heads of tasks, as training has them; with three labels."""
    model = build_model(base.checkpoint, base.pack.symbols)
    for head in heads:
        if head == "classifier":
            model.register_classification_head(DEFAULT_HEAD, num_classes=3)
        else:
            model.register_token_head(head, 3 if head == "tag_head" else 2)
    model.load_state_dict(dict(base.checkpoint.state))
    task = {"classifier": "sentence_prediction", "tag_head": "tagging", "span_head": "span_qa"}
    (folder / "label").mkdir(parents=True)
    (folder / "label/dict.txt").write_text("".join(f"{label} 1\n" for label in ("O", "B-A", "I-A")))
    body = base.checkpoint.replaced(model.state_dict(), **settings)
    body.config["task"] = {"_name": task[heads[0]], "data": str(folder), "init_token": 0}
    write_checkpoint(folder / "body.pt", body)
    return folder / "body.pt", model.eval()


@pytest.mark.parametrize("head", ["classifier", "tag_head", "span_head"])
def test_a_new_head_begins_as_the_mlm_head_and_goes_out(base, head, tmp_path):
    body, model = with_heads(base, tmp_path / "tuned", head)
    start = f"classification_heads.{DEFAULT_HEAD}" if head == "classifier" else head
    state = model.state_dict()
    for part in ("dense.weight", "layer_norm.weight"):
        assert torch.equal(state[f"{start}.{part}"], base.checkpoint.state[f"{HEAD}{part}"])
    assert state[f"{start}.out_proj.weight"].std() == pytest.approx(0.02, rel=0.3)
    export_hf(body, base.pack.folder, tmp_path / "hf")
    case = {"classifier": "cls", "tag_head": "tags", "span_head": "questions"}[head]
    end = CASES[case][0]
    back = getattr(transformers, f"AutoModel{end}").from_pretrained(tmp_path / "hf").eval()
    ids, real = base.batch([40, 8])
    close(case, theirs(back, ids, real), ours(model, case, ids), real)


@pytest.mark.parametrize(
    ("heads", "settings", "message"),
    [
        (["classifier", "span_head"], {}, "has the heads of several tasks ("),
        (["tag_head"], {"pooler_activation_fn": "tanh"}, "has pooler_activation_fn tanh, and the "),
        (
            ["classifier"],
            {"classifier_pooling": "max"},
            "classifier_pooling is 'max', and it is cls",
        ),
    ],
)
def test_what_cannot_go_out_is_one_sentence(base, tmp_path, capsys, heads, settings, message):
    body, _ = with_heads(base, tmp_path / "tuned", *heads, **settings)
    arguments = ["--body", body, "--pack", base.pack.folder, "--output", tmp_path / "hf"]
    assert main(["export-hf", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert str(body) in error and message in error and error.count("\n") == 1


def test_a_head_without_its_norm_is_not_complete(base, tmp_path, capsys):
    body, _ = with_heads(base, tmp_path / "tuned", "classifier")
    checkpoint, norm = (
        read_checkpoint(body),
        f"classification_heads.{DEFAULT_HEAD}.layer_norm.weight",
    )
    state = {name: tensor for name, tensor in checkpoint.state.items() if name != norm}
    write_checkpoint(tmp_path / "other.pt", checkpoint.replaced(state))
    assert main(["inspect", str(tmp_path / "other.pt")]) == 2
    assert f"not a complete ModernBERT: it lacks {norm}" in capsys.readouterr().err
