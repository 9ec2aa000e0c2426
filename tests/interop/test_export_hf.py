"""What `export-hf` writes loads without code of ours, and predicts what our own commands predict."""

import html
import json
import re
import shutil
import unicodedata
from dataclasses import replace

import numpy
import pytest
import sentencepiece
import tokenizers
import torch
import yaml
from support.huggingface_models import (
    HARD,
    LANGUAGES,
    generated_texts,
    is_a_tie,
    make_model,
    sampled,
    train_sentencepiece,
)

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.bodies.surgery import extend
from fairseq_minimodel.bodies.tensors import EMBEDDING
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.inference.solve import speaker_of
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.interop.tokenizer import fast_tokenizer
from fairseq_minimodel.kinds.batches import Batches
from fairseq_minimodel.kinds.classification import class_logits, token_sequences
from fairseq_minimodel.kinds.questions import Answer, Question
from fairseq_minimodel.kinds.spans import Answerer
from fairseq_minimodel.kinds.window_options import WindowOptions
from fairseq_minimodel.kinds.windows import AligningVocabulary
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import load_module, save_module
from fairseq_minimodel.packs.pack import LanguagePack, load_pack, save_pack
from fairseq_minimodel.packs.plug import plug
from fairseq_minimodel.packs.plug_module import merge_module
from fairseq_minimodel.vocabulary.symbols import fingerprint
from fairseq_minimodel.vocabulary.tokenizers import (
    MASK_SYMBOL,
    SPECIAL_SYMBOLS,
    Vocabulary,
    dictionary_pieces,
    load_sentencepiece,
    write_dictionary,
)

transformers = pytest.importorskip("transformers")

TEXTS = generated_texts()
HEAD = "sentence_classification_head"
LABELS = ("travel", "sports", "politics")
PAIRS = {"_name": "sentence_prediction", "init_token": 0, "separator_token": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """body.pt, pack/, and bodies with heads: topics.pt, questions.pt."""
    folder = tmp_path_factory.mktemp("bodies")
    make_model(folder / "model", "xlmr", TEXTS)
    import_hf(folder / "model", "xx", folder / "imported")
    shutil.copytree(folder / "imported/pack", folder / "pack")
    shutil.copy(folder / "imported/body.pt", folder / "body.pt")
    body = read_checkpoint(folder / "body.pt")
    generator = torch.Generator().manual_seed(4)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator)

    topics = {
        f"classification_heads.{HEAD}.{name}": tensor
        for name, tensor in {
            "dense.weight": drawn(32, 32), "dense.bias": drawn(32),
            "out_proj.weight": drawn(3, 32), "out_proj.bias": drawn(3),
        }.items()
    }  # fmt: skip
    (folder / "label").mkdir()
    (folder / "label/dict.txt").write_text("".join(f"{label} 1\n" for label in LABELS))
    span = {"span_head.weight": drawn(2, 32), "span_head.bias": drawn(2)}
    for name, head, task in (
        ("topics.pt", topics, PAIRS),
        ("questions.pt", span, {"_name": "span_qa"}),
    ):
        changed = body.replaced({**body.state, **head})
        task["data"] = str(folder)
        write_checkpoint(
            folder / name, replace(changed, config={**changed.config, "task": task}, updates=7)
        )
    return folder


def exported(folder, body, output, *options):
    arguments = [
        "export-hf",
        "--body",
        folder / body,
        "--pack",
        folder / "pack",
        "--output",
        output,
    ]
    assert main([str(part) for part in [*arguments, *options]]) == 0
    return output


def load(kind, folder):
    """A model of the library; nothing may be missing or left over that belongs to its class."""
    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    return model.eval()


def logits_of(checkpoint, pack, ids):
    with torch.inference_mode():
        return build_model(checkpoint, pack.symbols)(ids)[0]


def test_a_classifier_predicts_the_same_classes(folder, tmp_path):
    output = exported(folder, "topics.pt", tmp_path / "out")
    model = load("AutoModelForSequenceClassification", output)
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    assert [model.config.id2label[index] for index in range(3)] == list(LABELS)
    checkpoint, pack = read_checkpoint(folder / "topics.pt"), load_pack(folder / "pack")
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    rows = [(TEXTS[index], TEXTS[-index - 1]) for index in range(40)]
    sequences, _ = token_sequences(rows, vocabulary, checkpoint.config["task"])
    ours = build_model(checkpoint, pack.symbols)
    found, classes = [], class_logits(ours, HEAD, sequences, Batches(512))
    for row, sequence, expected in zip(rows, sequences, classes, strict=True):
        inputs = tokenizer(*row, return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == sequence.tolist()
        with torch.inference_mode():
            logits = model(**inputs).logits
            own = ours(inputs["input_ids"], classification_head_name=HEAD)[0]
        torch.testing.assert_close(logits, own, rtol=0, atol=1e-5)
        assert logits.argmax() == expected.argmax()
        found.append(logits[0])
    assert torch.stack(found).std(dim=0).min() > 1e-3  # the texts matter
    load("AutoModelForMaskedLM", output)


@pytest.mark.parametrize(
    ("settings", "single", "pair"),
    [
        ({"init_token": None, "separator_token": None}, "{a}</s>", "{a}</s>{b}</s>"),
        ({"init_token": 0, "separator_token": None}, "<s>{a}</s>", "<s>{a}</s>{b}</s>"),
    ],
)
def test_the_tokenizer_puts_around_texts_what_the_task_did(
    folder, tmp_path, settings, single, pair
):
    checkpoint = read_checkpoint(folder / "topics.pt")
    task = {**checkpoint.config["task"], **settings}
    body = replace(checkpoint, config={**checkpoint.config, "task": task})
    write_checkpoint(tmp_path / "body.pt", body)
    shutil.copytree(folder / "label", tmp_path / "label")
    export_hf(tmp_path / "body.pt", folder / "pack", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = {"a": "\u2581".join(["", "ba"]), "b": "\u2581".join(["", "be"])}
    for form, given in ((single, ("ba",)), (pair, ("ba", "be"))):
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(*given)["input_ids"])
        assert "".join(tokens) == form.format(**texts)


@pytest.mark.slow
@pytest.mark.parametrize(("freeze", "warned"), [("none", True), ("language", False)])
def test_a_body_that_was_fine_tuned_with_its_language_is_noticed(
    folder, tmp_path, caplog, freeze, warned
):
    """It is exported in another language, and a warning says what to expect."""
    body = read_checkpoint(folder / "topics.pt")
    moved = {**body.state, EMBEDDING: body.state[EMBEDDING] + 0.1}
    tuned = body.replaced(moved, freeze=freeze)
    start = {"finetune_from_model": "body.pt"}
    write_checkpoint(
        tmp_path / "tuned.pt", replace(tuned, config={**tuned.config, "checkpoint": start})
    )
    shutil.copytree(folder / "label", tmp_path / "label")
    export_hf(tmp_path / "tuned.pt", folder / "pack", tmp_path / "out")
    assert ("in xx expect results near chance" in caplog.text) == warned


def test_an_answerer_finds_the_same_answers(folder, tmp_path):
    output = exported(folder, "questions.pt", tmp_path / "out")
    model = load("AutoModelForQuestionAnswering", output)
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    checkpoint, pack = read_checkpoint(folder / "questions.pt"), load_pack(folder / "pack")
    options = WindowOptions(max_length=64, stride=16, max_question=24)
    answerer = Answerer("body", checkpoint, options, 5, "squad")
    speaker = speaker_of(checkpoint, pack, Batches(512))
    rows = [
        Question(str(i), TEXTS[i][:-1], TEXTS[i + 50], (Answer("x", 0),), "", "", "")
        for i in range(10)
    ]
    for row, answer in zip(rows, answerer.answers(speaker, rows), strict=True):
        inputs = tokenizer(
            row.question, row.context, return_tensors="pt", return_offsets_mapping=True
        )
        offsets, parts = inputs.pop("offset_mapping")[0], inputs.sequence_ids()
        with torch.inference_mode():
            found = model(**inputs)
        first = parts.index(1)
        last = len(parts) - 1
        best, span = None, None
        for begin in range(first, last):
            for end in range(begin, min(begin + 5, last)):
                score = float(found.start_logits[0, begin] + found.end_logits[0, end])
                text = row.context[offsets[begin][0] : offsets[end][1]].strip()
                if text and (best is None or score > best):
                    best, span = score, text
        assert span == answer and answer


@pytest.mark.slow
def test_a_mini_model_is_its_bottom_layers(folder, tmp_path):
    body = read_checkpoint(folder / "body.pt")
    pack = load_pack(folder / "pack")
    joint = {
        name.replace("encoder.lm_head.", "encoder.auxiliary_lm_heads.2."): 0.5 * tensor
        for name, tensor in body.state.items()
        if name.startswith(("encoder.lm_head.dense", "encoder.lm_head.layer_norm"))
    }
    write_checkpoint(tmp_path / "joint.pt", body.replaced({**body.state, **joint}))
    shutil.copy(folder / "pack/dict.txt", tmp_path / "dict.txt")
    arguments = ["--pack", str(folder / "pack"), "--output", str(tmp_path / "mini")]
    assert (
        main(["export-hf", "--body", str(tmp_path / "joint.pt"), "--depth", "2", *arguments]) == 0
    )
    assert main(["truncate", "--body", str(tmp_path / "joint.pt"), "--depth", "2", "--output",
                 str(tmp_path / "mini.pt")]) == 0  # fmt: skip
    model = load("AutoModelForMaskedLM", tmp_path / "mini")
    assert model.config.num_hidden_layers == 2
    ids = torch.tensor([[0, 20, 33, 9, 2]])
    with torch.inference_mode():
        found = model(ids).logits
    expected = logits_of(read_checkpoint(tmp_path / "mini.pt"), pack, ids)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    post, _ = extend(body, 1, 1)
    write_checkpoint(tmp_path / "post.pt", post)
    export_hf(tmp_path / "post.pt", folder / "pack", tmp_path / "post")
    with torch.inference_mode():
        found = load("AutoModelForMaskedLM", tmp_path / "post")(ids).logits
    torch.testing.assert_close(found, logits_of(post, pack, ids), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def module(folder):
    """A LoRA over the body, with a classification head, as a saved module."""
    topics, body = read_checkpoint(folder / "topics.pt"), read_checkpoint(folder / "body.pt")
    pack = load_pack(folder / "pack")
    state = {**body.state, **{n: t for n, t in topics.state.items() if n.startswith("classif")}}
    config = {**topics.config["model"], "task_module": "lora", "module_rank": 2}
    model = build_model(replace(topics, state=state, config={**topics.config, "model": config}),
                        pack.symbols)  # fmt: skip
    generator = torch.Generator().manual_seed(6)
    for name, parameter in model.named_parameters():
        if is_module_part(name):
            with torch.no_grad():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    trained = replace(topics, state=model.state_dict(), config={**topics.config, "model": config})
    save_module(folder / "module", trained, folder / "label/dict.txt")
    return folder / "module"


def test_a_module_is_merged(folder, module, tmp_path):
    output = exported(folder, "body.pt", tmp_path / "out", "--module", module)
    model = load("AutoModelForSequenceClassification", output)
    pack = load_pack(folder / "pack")
    merged, _ = merge_module(read_checkpoint(folder / "body.pt"), load_module(module))
    ids = torch.tensor([[0, 20, 33, 9, 2]])
    with torch.inference_mode():
        found = model(ids).logits
        own = build_model(merged, pack.symbols)(ids, classification_head_name=HEAD)[0]
        plain = build_model(read_checkpoint(folder / "topics.pt"), pack.symbols)
        without = plain(ids, classification_head_name=HEAD)[0]
    torch.testing.assert_close(found, own, rtol=0, atol=1e-5)
    assert (own - without).abs().max() > 1e-3
    assert "kind lora" in (output / "README.md").read_text()


SCORES = [
    {"body": "topics.pt", "language": "xx", "pack": "pack", "data": "somewhere/test.tsv",
     "accuracy": 0.75, "low": 0.5, "high": 0.9, "chance": 1 / 3, "majority": 0.5, "examples": 40},
    {"body": "questions.pt", "language": "xx", "pack": "pack", "data": "xquad.json",
     "questions": 50, "exact_match": 0.5,
     "exact_match_low": 0.4, "exact_match_high": 0.6, "f1": 0.625, "f1_low": 0.5, "f1_high": 0.7},
]  # fmt: skip


def test_the_card_says_what_the_records_say(folder, tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    description = json.loads((folder / "pack/language.json").read_text())
    pack = shutil.copytree(folder / "pack", tmp_path / "pack")
    known = {"depth": 2, "updates": 800, "tokens": 123456, "seconds": 90.0, "flops": 4.5e12,
             "validation_loss": 3.25}  # fmt: skip
    (pack / "language.json").write_text(json.dumps(description | known))
    export_hf(folder / "topics.pt", pack, tmp_path / "out", scores=tmp_path / "scores.json")
    card = (tmp_path / "out/README.md").read_text()
    for said in ("pipeline_tag: text-classification", "travel, sports, politics",
                 "trained over 2 layers; this model has 3", "3.250 bits", "| language side (xx) |",
                 "800", "123,456", "1 min 30 s", "4.5 TFLOP", "sentence_prediction",
                 "75.0", "50.0 to 90.0", "62.5", "test.tsv", description["lineage"]):  # fmt: skip
        assert said in card, said
    assert str(tmp_path) not in card and "somewhere" not in card


def header_of(card):
    begin, header, text = card.split("---\n", 2)
    assert not begin
    return yaml.safe_load(header), text


def with_language(folder, output, name):
    pack = shutil.copytree(folder / "pack", output)
    description = json.loads((pack / "language.json").read_text())
    (pack / "language.json").write_text(json.dumps({**description, "language": name}))
    return pack


def test_the_header_of_the_card_is_what_the_hub_reads(folder, tmp_path):
    scores = [{**score, "language": "sw", "body": "b"} for score in SCORES]
    (tmp_path / "scores.json").write_text(json.dumps([*scores, {**scores[0], "language": "de"}]))
    with_language(folder, tmp_path / "pack", "sw")
    arguments = ["--body", folder / "topics.pt", "--pack", tmp_path / "pack", "--output",
                 tmp_path / "out", "--scores", tmp_path / "scores.json", "--license", "cc-by-4.0",
                 "--base-model", "FacebookAI/xlm-roberta-base", "--dataset", "mafand",
                 "--dataset", "Davlan/sib200"]  # fmt: skip
    assert main(["export-hf", *map(str, arguments)]) == 0
    card = (tmp_path / "out/README.md").read_text()
    header, _ = header_of(card)
    assert header["language"] == "sw" and header["license"] == "cc-by-4.0"
    assert header["base_model"] == "FacebookAI/xlm-roberta-base"
    assert header["datasets"] == ["mafand", "Davlan/sib200"]
    [index] = header["model-index"]
    topics, questions = index["results"]
    assert index["name"] == "out" and topics["task"]["type"] == "text-classification"
    assert topics["dataset"] == {"type": "test.tsv", "name": "test.tsv (sw)"}
    [metric] = topics["metrics"]
    assert (metric["type"], metric["value"]) == ("accuracy", 0.75)
    assert "0.500 to 0.900, n = 40" in metric["name"]
    assert [metric["type"] for metric in questions["metrics"]] == ["f1", "exact_match"]
    library = pytest.importorskip("huggingface_hub").repocard.ModelCard(card).data
    assert library.eval_results[0].metric_value == 0.75 and library.model_name == "out"


@pytest.mark.parametrize(
    ("language", "known"),
    [("de", True), ("swa", True), ("source", False), ("xx", False), ("DE", False), ("", False)],
)
def test_a_language_that_the_hub_does_not_know_is_left_out_with_a_warning(
    folder, tmp_path, capsys, language, known
):
    pack = with_language(folder, tmp_path / "pack", language)
    export_hf(folder / "body.pt", pack, tmp_path / "out")
    header, _ = header_of((tmp_path / "out/README.md").read_text())
    assert header.get("language") == (language if known else None)
    assert ("is not a code of ISO 639" in capsys.readouterr().err) == (not known)


EVIL = "a<script>x()</script>\n---\nlicense: mit\n# b | [c](http://d) ![e](f) `g` *h* &lt; \x1b[31m"


def test_names_in_the_card_stay_text(folder, tmp_path):
    score = {**SCORES[0], "body": EVIL, "language": EVIL, "data": EVIL.replace("/", "")}
    (tmp_path / "scores.json").write_text(json.dumps([score]))
    pack = with_language(folder, tmp_path / "pack", EVIL)
    description = json.loads((pack / "language.json").read_text())
    description["versions"] = {EVIL: EVIL}
    (pack / "language.json").write_text(json.dumps(description))
    body = read_checkpoint(folder / "topics.pt")
    shutil.copytree(folder / "label", tmp_path / "data/label")
    task = {**body.config["task"], "data": str(tmp_path / "data")}
    write_checkpoint(tmp_path / "a.pt", replace(body, config={**body.config, "task": task}))
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{label} 1\n" for label in ("<b>x</b>", "*y*", "`z`")))
    output = tmp_path / "a<img src=x>*b*"
    export_hf(tmp_path / "a.pt", pack, output, labels=labels, scores=tmp_path / "scores.json")
    card = (output / "README.md").read_text()
    header, text = header_of(card)
    assert "license" not in header and "language" not in header
    assert header["model-index"][0]["name"] == html.escape(output.name)
    assert not re.search(r"<[a-z/!]", card)
    assert not re.search(r"<[a-z/!]", text) and "\x1b" not in text
    assert "\n---\n" not in text and "\n# b" not in text
    assert not re.search(r"(?<!\\)[`\[\]*]", text)
    assert "&lt;script&gt;" in text and "&lt;img" in text and "&lt;b&gt;" in text


@pytest.mark.parametrize(
    ("option", "value"),
    [("--license", "CC BY 4.0"), ("--base-model", "a/b/c"), ("--dataset", "x\ny: z")],
)
def test_statements_for_the_card_are_checked(folder, tmp_path, capsys, option, value):
    arguments = ["--body", folder / "body.pt", "--pack", folder / "pack", "--output",
                 tmp_path / "out", option, value]  # fmt: skip
    assert main(["export-hf", *map(str, arguments)]) == 2
    assert f"{option} {value!r} is not" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_bad_input_is_refused_in_a_sentence_and_leaves_nothing(folder, tmp_path, capsys):
    def refused(*options, body=folder / "body.pt"):
        arguments = ["export-hf", "--body", body, "--pack", folder / "pack", "--output",
                     tmp_path / "out", *options]  # fmt: skip
        assert main([str(part) for part in arguments]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "no MLM head after layer 2" in refused("--depth", "2")
    assert "no scores" in refused("--scores", tmp_path / "absent.json")
    (tmp_path / "scores.json").write_text('[{"loss": 3}]')
    assert "holds no scores" in refused("--scores", tmp_path / "scores.json")
    checkpoint = read_checkpoint(folder / "topics.pt")
    for setting, value in (("activation_fn", "relu"), ("pooler_activation_fn", "relu")):
        write_checkpoint(
            tmp_path / "other.pt", checkpoint.replaced(checkpoint.state, **{setting: value})
        )
        assert f"{setting} relu" in refused(body=tmp_path / "other.pt")


KINDS = {
    "unigram": {},
    "unigram, bytes": {"byte_fallback": True, "character_coverage": 0.98},
    "unigram, user's symbols": {"user_defined_symbols": ["<ent>", "ba#"]},
    "bpe": {"model_type": "bpe"},
    "bpe, bytes": {"model_type": "bpe", "byte_fallback": True, "character_coverage": 0.98},
    "char": {"model_type": "char"},
    "identity": {"normalization_rule_name": "identity"},
}


def bare_pack(folder, size=None, left_out=(), reverse=False, **options):
    """A pack of a new SentencePiece model, without tensors."""
    folder.mkdir()
    path = folder / "sentencepiece.bpe.model"
    train_sentencepiece(path, TEXTS, size or 420, **options)
    pieces = [piece for piece, _ in dictionary_pieces(load_sentencepiece(path))]
    pieces = [piece for piece in pieces if piece not in left_out]
    pieces = pieces[::-1] if reverse else pieces
    write_dictionary(folder / "dict.txt", pieces, [1] * len(pieces))
    return LanguagePack(None, None, [*SPECIAL_SYMBOLS, *pieces, MASK_SYMBOL], folder)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.slow
def test_sentencepiece_models_of_each_kind_have_the_same_tokens(options, tmp_path):
    pack = bare_pack(tmp_path / "pack", reverse=True, **options)
    content = fast_tokenizer(pack, pack.symbols)
    exported = tokenizers.Tokenizer.from_str(json.dumps(content))
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pack.tokenizer))
    texts = [*TEXTS[:200], *HARD, "ba# <ent> ba#ba#<ent>x <ent>", "zz bada qq", "\u00e9\u00e9"]
    texts += [text.replace(" ", "<ent>", 1).replace("e", "\u6f22") for text in TEXTS[:40]]
    ids = vocabulary.encode_batch(texts)
    assert len(set(numpy.concatenate(ids))) > 20
    for text, own in zip(texts, ids, strict=True):
        found = exported.encode(text, add_special_tokens=False).ids
        if found != own.tolist():  # two ways of the same score
            ways = [[pack.symbols[index] for index in way] for way in (found, own)]
            sums = [
                sum(processor.get_score(processor.piece_to_id(one)) for one in way) for way in ways
            ]
            assert sums[0] == pytest.approx(sums[1], rel=1e-6), (text, ways)
    known = TEXTS[0]
    assert exported.decode(exported.encode(known).ids) == known


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model_type": "word"}, "of whole words"),
        ({"user_defined_symbols": ["two words"]}, "symbol 'two words'"),
        ({"user_defined_symbols": ["<ent>"], "model_type": "bpe"}, "symbol '<ent>'"),
        ({"treat_whitespace_as_suffix": True}, "at the ends of words"),
    ],
)
def test_other_sentencepiece_models_are_refused_before_the_body_is_read(
    folder, tmp_path, capsys, options, sentence
):
    train_sentencepiece(tmp_path / "a.model", TEXTS, 300, **options)
    pack = shutil.copytree(folder / "pack", tmp_path / "pack")
    shutil.copy(tmp_path / "a.model", pack / "sentencepiece.bpe.model")
    arguments = ["--body", tmp_path / "absent.pt", "--pack", pack, "--output", tmp_path / "out"]
    assert main(["export-hf", *map(str, arguments)]) == 2
    assert sentence in capsys.readouterr().err


def test_pieces_that_the_dictionary_lacks_are_read_as_unknown(folder, tmp_path, capsys):
    """As fairseq-preprocess leaves them out; the outputs and the predictions stay the same."""
    pack = load_pack(folder / "pack")
    body = read_checkpoint(folder / "body.pt")
    lost = [pack.symbols[row] for row in range(12, 60, 6)]
    kept = [row for row, symbol in enumerate(pack.symbols) if symbol not in lost]
    side = LanguageSide(pack.side.embedding[kept], pack.side.bias[kept])
    symbols = [pack.symbols[row] for row in kept]
    write_dictionary(tmp_path / "dict.txt", symbols[4:-1], [1] * len(symbols[4:-1]))
    description = replace(pack.description, vocabulary=fingerprint(symbols),
                          vocabulary_size=len(symbols))  # fmt: skip
    save_pack(tmp_path / "pack", side, description, tmp_path / "dict.txt", pack.tokenizer)
    export_hf(folder / "body.pt", tmp_path / "pack", tmp_path / "out")
    assert "8 pieces" in capsys.readouterr().out
    assert not (tmp_path / "out/sentencepiece.bpe.model").exists()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = load("AutoModelForMaskedLM", tmp_path / "out")
    vocabulary = Vocabulary(tmp_path / "pack/sentencepiece.bpe.model", tmp_path / "dict.txt")
    ours = build_model(plug(body, load_pack(tmp_path / "pack"))[0], symbols)
    met = 0
    for text in TEXTS[:40]:
        ids = torch.tensor([[0, *vocabulary.encode(text), 2]])
        inputs = tokenizer(text, return_tensors="pt")
        met += int((ids == 3).sum())
        with torch.inference_mode():
            expected, found = ours(ids)[0], model(**inputs).logits
        torch.testing.assert_close(
            found.softmax(-1)[..., : len(symbols)], expected.softmax(-1), rtol=0, atol=1e-5
        )
    assert met > 10


def test_the_sentencepiece_model_goes_along_only_in_the_order_of_its_rows(folder, tmp_path):
    name = "sentencepiece.bpe.model"
    assert (exported(folder, "body.pt", tmp_path / "same") / name).is_file()
    pack, body = load_pack(folder / "pack"), folder / "body.pt"
    order = [*range(4), *range(len(pack.symbols) - 2, 3, -1), len(pack.symbols) - 1]
    symbols = [pack.symbols[row] for row in order]
    write_dictionary(tmp_path / "dict.txt", symbols[4:-1], [1] * len(symbols[4:-1]))
    side = LanguageSide(pack.side.embedding[order], pack.side.bias[order])
    description = replace(pack.description, vocabulary=fingerprint(symbols))
    save_pack(tmp_path / "pack", side, description, tmp_path / "dict.txt", pack.tokenizer)
    export_hf(body, tmp_path / "pack", tmp_path / "other")
    assert not (tmp_path / "other" / name).exists()
    ids = Vocabulary(pack.tokenizer, tmp_path / "dict.txt").encode(TEXTS[0]).tolist()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "other")
    assert tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"] == ids


def check_tokens(tokenizer, vocabulary, processor, texts):
    """Same ids and offsets; returns how many texts were cut in another way of the same score."""
    ties = 0
    for text in texts:
        aligned = vocabulary.align(text)
        got = tokenizer(text, return_offsets_mapping=True)
        ids, own = got["input_ids"], aligned.ids.tolist()
        assert (ids[0], ids[-1]) == (0, 2)
        if ids[1:-1] != own:
            assert is_a_tie(ids[1:-1], own, processor), text
            ties += 1
            continue
        places = zip(own, got["offset_mapping"][1:-1], aligned.begins, aligned.ends, strict=True)
        for index, (begin, end), own_begin, own_end in places:
            if own_begin == own_end or processor.id_to_piece(index - 1) == "\u2581":
                continue  # part of a character, or the space that SentencePiece puts first
            # spaces before a word are the word's, all of them or the last
            spans = text[begin:end], text[own_begin:own_end]
            assert len(set(map(processor.normalize, spans))) == 1, (text, spans)
    return ties


@pytest.fixture(scope="module")
def multilingual(shared_data, tmp_path_factory):
    """A random model over one vocabulary of nine languages, exported: (output, imported, texts)."""
    folder = tmp_path_factory.mktemp("multilingual")
    texts = {language: sampled(shared_data, language, 400) for language in LANGUAGES}
    everything = [line[:200] for one in texts.values() for line in one if line.strip()]
    make_model(folder / "model", "xlmr", everything, 2000)
    import_hf(folder / "model", "multi", folder / "imported")
    export_hf(folder / "imported/body.pt", folder / "imported/pack", folder / "out")
    return folder / "out", folder / "imported", texts


@pytest.mark.slow
def test_real_text_of_nine_languages_has_the_same_tokens_and_logits(multilingual):
    output, imported, texts = multilingual
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    model = load("AutoModelForMaskedLM", output)
    pack = load_pack(imported / "pack")
    vocabulary = AligningVocabulary(pack.tokenizer, pack.dictionary)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pack.tokenizer))
    ours = build_model(read_checkpoint(imported / "body.pt"), pack.symbols)
    ties = 0
    for sentences in texts.values():
        ties += check_tokens(tokenizer, vocabulary, processor, sentences)
        compared = 0
        for sentence in filter(None, sentences[:40]):
            inputs = tokenizer(sentence, return_tensors="pt", truncation=True)
            with torch.inference_mode():
                expected = ours(inputs["input_ids"])[0]
                found = model(**inputs).logits
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
            compared += 1
        assert compared > 20
    assert ties <= 5  # of 3,600 lines


@pytest.mark.slow
def test_letters_in_parts_and_other_hard_text_have_the_same_tokens(multilingual):
    output, imported, texts = multilingual
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    pack = load_pack(imported / "pack")
    vocabulary = AligningVocabulary(pack.tokenizer, pack.dictionary)
    for text in HARD:
        assert tokenizer(text)["input_ids"][1:-1] == vocabulary.encode(text).tolist(), text
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pack.tokenizer))
    for language in ("vi", "el", "hi", "tr", "de"):
        apart = [unicodedata.normalize("NFD", text) for text in texts[language][:150]]
        compared = 0
        for text in apart:
            ids = tokenizer(text)["input_ids"][1:-1]
            own = vocabulary.encode(text).tolist()
            if 3 not in own:  # of letters outside the vocabulary only the parts may be known
                compared += 1
                assert ids == own or is_a_tie(ids, own, processor), text
        assert compared > 50


def test_the_tokenizer_fills_masks(folder, tmp_path):
    output = exported(folder, "body.pt", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    pack = load_pack(folder / "pack")
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    words = TEXTS[0].split()
    masked = " ".join([words[0], "<mask>", words[2]])
    expected = [0, *vocabulary.encode(words[0]), tokenizer.mask_token_id,
                *vocabulary.encode(words[2]), 2]  # fmt: skip
    assert tokenizer(masked)["input_ids"] == expected
    assert tokenizer.mask_token_id == len(pack.symbols) - 1
    assert tokenizer.decode(tokenizer(TEXTS[0])["input_ids"], skip_special_tokens=True) == TEXTS[0]
