"""Heads of tasks over ModernBERT and EuroBERT come in and go out, with the scores of the library."""

import functools
import json
import shutil

import pytest
import torch
from interop.test_modern import TEXTS, Imported, changed
from safetensors.torch import load_file, save_file
from support.modern_models import EURO, MODERN, of_each_kind

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.identity import lineage_of
from fairseq_minimodel.bodies.tensors import EMBEDDING, HEAD, OUTPUT_PROJECTION
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.kinds.classification import DEFAULT_HEAD

transformers = pytest.importorskip("transformers")

CLASSES = {0: "travel", 1: "sports and games", 2: "politics"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
SEQUENCE, TOKEN, QUESTION = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
)
# the family, the end of the library's class, and how it pools
CASES = [
    (MODERN, SEQUENCE, "cls"),
    (MODERN, SEQUENCE, "mean"),
    (MODERN, TOKEN, "cls"),
    (MODERN, QUESTION, "cls"),
    (EURO, SEQUENCE, "late"),
    (EURO, SEQUENCE, "bos"),
    (EURO, SEQUENCE, "mean"),
    (EURO, TOKEN, "late"),
]
NAMES = {SEQUENCE: {"id2label": CLASSES}, TOKEN: {"id2label": TAGS}, QUESTION: {}}
EPS = {MODERN: "norm_eps", EURO: "rms_norm_eps"}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def tuned(request, tmp_path_factory):
    """A model with random weights, its body here, and hf/, that body written."""
    kind, end, pooling = request.param
    folder = tmp_path_factory.mktemp("tuned")
    settings = NAMES[end] | {"classifier_pooling": pooling, EPS[kind]: 1e-4}
    model = Imported(folder, kind, head=end, **settings)
    model.kind, model.end, model.pooling = kind, end, pooling
    export_hf(folder / "body/body.pt", folder / "body/pack", folder / "hf")
    return model


def theirs(model, ids, mask):
    """The scores of the library: batch x classes, or batch x length x outputs."""
    with torch.inference_mode():
        found = model(ids, attention_mask=mask.long())
    if "logits" in found:
        return found.logits
    return torch.stack([found.start_logits, found.end_logits], dim=-1)


def ours(model, end, ids):
    heads = {TOKEN: {"token_head": "tag_head"}, QUESTION: {"span_scores": True}}
    with torch.inference_mode():
        return model(ids, **heads.get(end, {"classification_head_name": DEFAULT_HEAD}))[0]


def close(end, found, expected, real):
    if end != SEQUENCE:  # at padding they mean nothing
        found, expected = found[real], expected[real]
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[12], [96, 3, 40, 1]])
def test_scores_are_the_models_own(tuned, lengths):
    ids, real = tuned.batch(lengths)
    expected = theirs(tuned.model, tuned.rows[ids], real)
    close(tuned.end, ours(tuned.ours, tuned.end, ids), expected, real)


def test_an_export_has_the_scores_and_nothing_is_lost_or_made_up(tuned):
    loader = getattr(transformers, f"AutoModel{tuned.end}")
    model, info = loader.from_pretrained(tuned.folder / "hf", output_loading_info=True)
    assert not any(info.values())
    assert type(model).__name__ == f"{tuned.kind.classes}{tuned.end}"
    config = json.loads((tuned.folder / "hf/config.json").read_text())
    assert config["architectures"] == [f"{tuned.kind.classes}{tuned.end}"]
    if "id2label" in NAMES[tuned.end]:
        assert model.config.id2label == NAMES[tuned.end]["id2label"]
    assert model.config.classifier_pooling == tuned.pooling
    ids, real = tuned.batch([50, 7])
    expected = theirs(tuned.model, tuned.rows[ids], real)
    close(tuned.end, theirs(model.eval(), ids, real), expected, real)
    again = tuned.folder / "again"
    import_hf(tuned.folder / "hf", "xx", again)
    state = read_checkpoint(again / "body.pt").state
    # of a EuroBERT, a new MLM head is drawn again
    drawn = {"encoder.lineage"} | ({OUTPUT_PROJECTION} if tuned.kind is EURO else set())
    for name, tensor in tuned.checkpoint.state.items():
        assert name in drawn or torch.equal(state[name], tensor), name


def test_texts_are_read_by_the_head(tuned):
    model = fairseq_minimodel.load(tuned.folder / "body/body.pt", tuned.folder / "body/pack")
    inputs = tuned.tokenizer(TEXTS[0], return_tensors="pt")
    mask = torch.ones_like(inputs["input_ids"])
    scores = theirs(tuned.model, inputs["input_ids"], mask)
    if tuned.end == SEQUENCE:
        [found] = model.predict([TEXTS[0]])
        names, shares = list(CLASSES.values()), scores[0].softmax(-1).tolist()
        assert found.probabilities == pytest.approx(dict(zip(names, shares, strict=True)), abs=1e-5)
    elif tuned.end == TOKEN:
        best = [TAGS[int(one)] for one in scores[0].argmax(-1)]
        kinds = {one.label for one in model.tag([TEXTS[0]])[0]}
        assert kinds <= {tag[2:] for tag in best} and best
    else:
        sizes = {"max_length": 96, "stride": 20, "max_question": 40}
        [[found]] = model.answer([TEXTS[1]], [TEXTS[0]], **sizes)
        assert found.text and found.text in TEXTS[0]


# ---- a model that was fine-tuned from a body


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    """Makes a model, its body, and a classifier made of it, with the same embeddings; once a kind."""

    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp(str(kind))
        imported = Imported(folder, kind)
        settings = {"id2label": CLASSES, "classifier_pooling": "mean"}
        loader = transformers.AutoModelForSequenceClassification
        torch.manual_seed(5)
        model = loader.from_pretrained(folder / "model", **settings)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter is not model.get_input_embeddings().weight:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        imported.classifier = model.eval()
        model.save_pretrained(folder / "classifier")
        imported.tokenizer.save_pretrained(folder / "classifier")
        import_hf(folder / "classifier", "xx", folder / "topics", like=folder / "body/body.pt")
        return imported

    return make


@pytest.fixture
def base(kind, base_of):
    return base_of(kind)


@of_each_kind
def test_it_has_the_lineage_and_the_mlm_head_of_the_body_that_it_is_like(base):
    found = read_checkpoint(base.folder / "topics/body.pt")
    assert lineage_of(found.state) == lineage_of(base.checkpoint.state)
    for name, tensor in base.checkpoint.state.items():
        if name.startswith(HEAD) or name == EMBEDDING:
            assert torch.equal(found.state[name], tensor), name
    ids, real = base.batch([30, 9])
    scores = ours(build_model(found, base.pack.symbols), SEQUENCE, ids)
    close(SEQUENCE, scores, theirs(base.classifier, base.rows[ids], real), real)


@of_each_kind
def test_a_pack_goes_straight_into_it(base, tmp_path):
    """As `adapt --tasks` has it."""
    export_hf(
        None, base.folder / "body/pack", tmp_path / "hf", model=base.folder / "classifier",
        like=base.folder / "body/body.pt",
    )  # fmt: skip
    loader = transformers.AutoModelForSequenceClassification
    model = loader.from_pretrained(tmp_path / "hf").eval()
    assert model.config.id2label == CLASSES and model.config.classifier_pooling == "mean"
    ids, real = base.batch([30, 9])
    expected = theirs(base.classifier, base.rows[ids], real)
    close(SEQUENCE, theirs(model, ids, real), expected, real)


@of_each_kind
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


def as_it_is(state):
    """No change of its tensors."""


def without_bias(state):
    del state["classifier.bias"]


def with_short_parts(state):
    state |= {name: torch.ones(5) for name in ("head.norm.weight", "dense.bias") if name in state}


@pytest.mark.parametrize(
    ("kind", "change", "settings", "message"),
    [
        (
            MODERN, as_it_is, {"classifier_pooling": "max"},
            "has classifier_pooling 'max', and minimodel_modernbert has 'cls' or 'mean'",
        ),
        (
            EURO, as_it_is, {"classifier_pooling": ["cls"]},
            "has classifier_pooling a list, and minimodel_eurobert has 'late' or 'bos' or 'mean'",
        ),
        *[
            (kind, change, settings, message)
            for kind in (MODERN, EURO)
            for change, settings, message in (
                (
                    without_bias, {}, f"says that the model is a {kind.classes}{SEQUENCE}, and its "
                    "weights lack classifier.bias",
                ),
                (as_it_is, {"id2label": {"0": "a"}}, "has labels (id2label) that are not those"),
            )
        ],
        (
            MODERN, with_short_parts, {},
            "head.norm.weight of {} has the shape (5,), which is not that of a head for text-class",
        ),
        (EURO, with_short_parts, {}, "dense.bias of {} has the shape (5,), which is not that of a"),
        (MODERN, as_it_is, {"classifier_activation": "relu"}, "classifier_activation 'relu'"),
        (MODERN, as_it_is, {"classifier_bias": True}, "has classifier_bias True"),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)  # fmt: skip
def test_what_cannot_come_in_is_one_sentence(base, tmp_path, capsys, change, settings, message):
    folder = spoilt(base, tmp_path / "model", change, **settings)
    arguments = ["--model", folder, "--language", "xx", "--output", tmp_path / "out"]
    assert main(["import-hf", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert message.format(folder) in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "settings", "outputs", "note"),
    [
        (
            MODERN,
            {"architectures": ["ModernBertForMultipleChoice"]},
            1,
            "heads of its kind are not",
        ),
        (MODERN, {"problem_type": "multi_label_classification"}, 3, "here gives one label"),
        (MODERN, {}, 1, "and so gives a number"),
        # it has come with the published code alone, not with the library
        (EURO, {"architectures": ["EuroBertForQuestionAnswering"]}, 2, "heads of its kind are not"),
        (EURO, {}, 1, "and so gives a number"),
    ],
    ids=str,
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
    there = load_file(folder / "model.safetensors")
    theirs = [there[name] for name in ("head.dense.weight", "dense.weight") if name in there]
    assert not any(torch.equal(state[name], *theirs) for name in state if name.startswith(HEAD))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (MODERN, "left out: classifier.bias, classifier.weight"),
        (EURO, "head for text-classification"),
    ],
    ids=str,
)
def test_a_head_that_the_model_does_not_name_is_known_by_names_of_its_own(
    base, tmp_path, capsys, said
):
    folder = spoilt(base, tmp_path / "model", as_it_is, architectures=None)
    import_hf(folder, "xx", tmp_path / "out")
    assert said in capsys.readouterr().out


def test_pooling_under_its_name_in_the_published_code_is_read(base_of, tmp_path):
    folder = spoilt(base_of(EURO), tmp_path / "model", as_it_is)
    changed(folder, "classifier_pooling", clf_pooling="bos")
    import_hf(folder, "xx", tmp_path / "out")
    found = read_checkpoint(tmp_path / "out/body.pt").head_settings()
    assert found == {"pooler_activation_fn": "gelu", "classifier_pooling": "cls"}


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


ENDS = {"classifier": SEQUENCE, "tag_head": TOKEN, "span_head": QUESTION}


@pytest.mark.parametrize(
    ("kind", "head"),
    [*((MODERN, head) for head in ENDS), (EURO, "classifier"), (EURO, "tag_head")],
    ids=str,
)
def test_a_new_head_begins_as_the_mlm_head_if_it_has_its_form_and_goes_out(
    kind, base, head, tmp_path
):
    body, model = with_heads(base, tmp_path / "tuned", head)
    start = f"classification_heads.{DEFAULT_HEAD}" if head == "classifier" else head
    state = model.state_dict()
    if kind is MODERN:
        for part in ("dense.weight", "layer_norm.weight"):
            assert torch.equal(state[f"{start}.{part}"], base.checkpoint.state[f"{HEAD}{part}"])
    last = f"{start}.out_proj.weight"
    assert state[last if last in state else f"{start}.weight"].std() == pytest.approx(0.02, rel=0.3)
    export_hf(body, base.pack.folder, tmp_path / "hf")
    end = ENDS[head]
    back = getattr(transformers, f"AutoModel{end}").from_pretrained(tmp_path / "hf").eval()
    ids, real = base.batch([40, 8])
    found, expected = theirs(back, ids, real), ours(model, end, ids)
    scale = expected.std()  # of a new head scores are small
    close(end, found / scale, expected / scale, real)


@pytest.mark.parametrize(
    ("kind", "heads", "settings", "message"),
    [
        (MODERN, ["classifier", "span_head"], {}, "has the heads of several tasks ("),
        (EURO, ["classifier", "tag_head"], {}, "has the heads of several tasks ("),
        (EURO, ["span_head"], {}, "(span_head) that the library's EuroBERT does not have"),
        (
            MODERN,
            ["tag_head"],
            {"pooler_activation_fn": "tanh"},
            "has pooler_activation_fn tanh, and",
        ),
        (EURO, ["classifier"], {"pooler_activation_fn": "tanh"}, "pooler_activation_fn tanh, and"),
        (MODERN, ["classifier"], {"classifier_pooling": "max"}, "is 'max', and it is cls or mean"),
        (EURO, ["classifier"], {"classifier_pooling": "max"}, "and it is late or cls or mean"),
    ],
    ids=str,
)
def test_what_cannot_go_out_is_one_sentence(base, tmp_path, capsys, heads, settings, message):
    body, _ = with_heads(base, tmp_path / "tuned", *heads, **settings)
    arguments = ["--body", body, "--pack", base.pack.folder, "--output", tmp_path / "hf"]
    assert main(["export-hf", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert str(body) in error and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "part"), [(MODERN, "layer_norm.weight"), (EURO, "dense.bias")], ids=str
)
def test_a_head_without_one_of_its_parts_is_not_complete(kind, base, part, tmp_path, capsys):
    body, _ = with_heads(base, tmp_path / "tuned", "classifier")
    checkpoint, lost = read_checkpoint(body), f"classification_heads.{DEFAULT_HEAD}.{part}"
    state = {name: tensor for name, tensor in checkpoint.state.items() if name != lost}
    write_checkpoint(tmp_path / "other.pt", checkpoint.replaced(state))
    assert main(["inspect", str(tmp_path / "other.pt")]) == 2
    assert f"not a complete {kind}: it lacks {lost}" in capsys.readouterr().err
