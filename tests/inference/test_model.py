"""The Python interface, against fairseq's forward pass over one text at a time."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fairseq.models.transformer import TransformerEncoder
from support.bodies import HEAD, LABELS, WINDOWS, WORDS, sentences, write_module_body
from support.generated_questions import write_questions
from support.huggingface_models import generated_texts, make_model

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.cli import main
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference import model as serving
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.inference.solve import speaker_of
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.kinds import masked
from fairseq_minimodel.kinds.batches import Batches
from fairseq_minimodel.kinds.questions import read_question_file
from fairseq_minimodel.kinds.spans import Answerer
from fairseq_minimodel.kinds.window_options import WindowOptions
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.packs.plug import plug


@pytest.fixture(scope="module")
def both(bodies):
    return {language: bodies / "packs" / language for language in ("en", "de")}


def plain_model(body, pack):
    """That computes by fairseq's own encoder."""
    pack = load_pack(pack)
    model = build_model(plug(read_checkpoint(body), pack)[0], pack.symbols)
    model.encoder.frozen = None
    return model


def ids_of(text):
    """Each word is a symbol, and word0 the one after the four special ones."""
    return [4 + int(word[4:]) for word in text.split()]


def plain(model, ids, **options):
    with torch.no_grad():
        return model(torch.tensor([ids]), **options)


@pytest.mark.parametrize("language", ["en", "de"])
def test_labels_are_those_of_fairseqs_forward_pass(language, bodies, both):
    served = fairseq_minimodel.load(bodies / "topics.pt", both)
    assert served.task == "classification" and served.classes == list(LABELS)
    model = plain_model(bodies / "topics.pt", both[language])
    texts = sentences(language, 50)
    pairs = [*zip(texts[:25], texts[25:], strict=True)]
    rows = [[0, *ids_of(text), 2] for text in texts]
    rows += [[0, *ids_of(first), 2, 2, *ids_of(second), 2] for first, second in pairs]
    found = served.predict([*texts, *pairs], language=language)
    for prediction, ids in zip(found, rows, strict=True):
        logits = plain(model, ids, classification_head_name=HEAD)[0][0]
        expected = torch.softmax(logits, dim=-1).tolist()
        assert list(prediction.probabilities) == list(LABELS)
        assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        assert prediction.label == LABELS[logits.argmax()]
        assert prediction.probability == prediction.probabilities[prediction.label]
    assert len({one.label for one in found}) > 1


def test_heads_are_not_computed_through_fairseqs_encoder(bodies, both, tmp_path, monkeypatch):
    def forward(*_, **__):
        raise AssertionError("fairseq's encoder is called")

    monkeypatch.setattr(TransformerEncoder, "forward", forward)
    served = fairseq_minimodel.load(bodies / "topics.pt", both)
    assert len(served.predict(sentences("en", 9))) == 9
    rows = [f"{text}\t{LABELS[0]}" for text in sentences("de", 9)]
    (tmp_path / "de.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    arguments = ["--body", bodies / "topics.pt", "--test", both["de"], tmp_path / "de.tsv"]
    assert main(["evaluate", *map(str, arguments), "--text-columns", "text"]) == 0


@pytest.mark.parametrize("layer", [None, 0, 1, 3])
def test_vectors_are_means_of_hidden_states(layer, bodies, both):
    served = fairseq_minimodel.load(bodies / "topics.pt", both["de"])
    model = plain_model(bodies / "topics.pt", both["de"])
    texts = ["", *sentences("de", 30)]
    vectors = served.encode(texts, layer=layer)
    assert vectors.shape == (31, 16) and vectors.dtype == torch.float32
    assert not vectors[0].any()  # nothing between <s> and </s>
    for vector, text in zip(vectors[1:], texts[1:], strict=True):
        states = plain(model, [0, *ids_of(text), 2], return_all_hiddens=True)[1]["inner_states"]
        state = states[2 if layer is None else layer]  # of 3 layers: the one above the middle
        torch.testing.assert_close(vector, state[1:-1, 0].mean(dim=0), atol=1e-5, rtol=1e-5)


def test_masks_are_filled_as_fairseq_fills_them(bodies, both, tmp_path):
    """By the pretrained body, plugged and loaded by fairseq itself."""
    from fairseq.models.roberta import RobertaModel

    arguments = [
        "--body",
        bodies / "pretrained.pt",
        "--pack",
        both["de"],
        "--output",
        tmp_path / "de",
    ]
    assert main(["plug", *map(str, arguments)]) == 0
    roberta = RobertaModel.from_pretrained(str(tmp_path / "de"), bpe="sentencepiece").eval()
    served = fairseq_minimodel.load(bodies / "pretrained.pt", both["de"])
    texts = ["wort1 wort2 <mask> wort3", "<mask>", "wort7 <mask>", "<mask>  wort8", "a<mask>wort9"]
    for text, masks in zip(texts, served.fill_mask(texts, top=4), strict=True):
        [found] = masks
        expected = roberta.fill_mask(text, topk=4)
        assert [one.token.replace("\u2581", " ") for one in found] == [one[2] for one in expected]
        probabilities = [one[1] for one in expected]
        assert [one.probability for one in found] == pytest.approx(probabilities, abs=1e-5)


def test_each_mask_is_filled(bodies, both, monkeypatch):
    """However few logits fit into memory at a time."""
    monkeypatch.setattr(masked, "MOST_LOGITS", 200)
    served = fairseq_minimodel.load(bodies / "pretrained.pt", both["en"])
    model = plain_model(bodies / "pretrained.pt", both["en"])
    texts = [text.replace("word1", "<mask>") for text in sentences("en", 200)]
    texts = [text for text in texts if "<mask>" in text]
    symbols = load_pack(both["en"]).symbols
    for text, masks in zip(texts, served.fill_mask(texts, top=65), strict=True):
        ids = [0]
        for word in text.split():
            # word1 is gone, and so is the beginning of word10 to word19: its digit is unknown
            parts = word.split("<mask>")
            ids += ids_of(word) if len(parts) == 1 else [64, *([3] if parts[1] else [])]
        logits = plain(model, [*ids, 2])[0][0]
        places = [place for place, token in enumerate(ids) if token == 64]
        assert len(masks) == len(places)
        for place, found in zip(places, masks, strict=True):
            expected = dict(zip(symbols, logits[place].softmax(dim=-1).tolist(), strict=True))
            assert dict(found) == pytest.approx(expected, abs=1e-6)
            values = [one.probability for one in found]
            assert values == sorted(values, reverse=True)
    assert max(map(len, served.fill_mask(texts))) > 1


@pytest.mark.parametrize("style", ["roberta fast", "xlmr"])
def test_masks_are_filled_as_transformers_fills_them(style, tmp_path):
    """With either kind of tokenizer."""
    pytest.importorskip("transformers")
    texts = generated_texts()
    model, tokenizer = make_model(tmp_path / "model", style, texts)
    import_hf(tmp_path / "model", "xx", tmp_path / "imported")
    served = fairseq_minimodel.load(tmp_path / "imported/body.pt", tmp_path / "imported/pack")
    masked = [
        text.replace(text.split()[index % 4], "<mask>", 1) for index, text in enumerate(texts)
    ]
    for text, [found] in zip(masked[:20], served.fill_mask(masked[:20], top=3), strict=True):
        # the space before a mask belongs to it; not every tokenizer of the library knows that
        inputs = tokenizer(text.replace(" <mask>", "<mask>"), return_tensors="pt")
        with torch.no_grad():
            logits = model(inputs["input_ids"]).logits
        place = (inputs["input_ids"] == tokenizer.mask_token_id).nonzero()[0]
        values, ids = logits[place[0], place[1]].softmax(dim=-1).topk(3)
        assert [one.token for one in found] == tokenizer.convert_ids_to_tokens(ids)
        assert [one.probability for one in found] == pytest.approx(values.tolist(), abs=1e-5)
    spelled = served.tokenize(texts[:20])
    assert spelled == [tokenizer.tokenize(text) for text in texts[:20]]


def test_answers_are_those_that_evaluate_scores(bodies, both, tmp_path):
    """And their characters are where they say."""
    served = fairseq_minimodel.load(bodies / "questions.pt", both)
    for language, words in WORDS.items():
        file = write_questions(tmp_path / language, words[1:], seed=3, count=40, longest=30)
        rows = list(read_question_file(file))
        body = read_checkpoint(bodies / "questions.pt")
        speaker = speaker_of(body, load_pack(both[language]), Batches(512))
        answerer = Answerer("x", body, WindowOptions(**WINDOWS), 3, "squad")
        expected = answerer.answers(speaker, rows)
        questions, contexts = [row.question for row in rows], [row.context for row in rows]
        found = served.answer(
            questions, contexts, top=7, **WINDOWS, max_answer=3, language=language
        )
        assert [answers[0].text for answers in found] == expected and len(set(expected)) > 10
        for context, answers in zip(contexts, found, strict=True):
            for answer in answers:
                assert context[answer.begin : answer.end] == answer.text
                assert 1 <= len(answer.text.split()) <= 3
            scores = [answer.score for answer in answers]
            assert scores == sorted(scores, reverse=True)
            assert len({answer[2:] for answer in answers}) == len(answers) > 2
        one = served.answer(questions, contexts, **WINDOWS, max_answer=3, language=language)
        assert one == [answers[:1] for answers in found]
    assert served.answer(["word1"], [""], **WINDOWS, language="en") == [[]]


def test_text_is_tokenised(bodies, both):
    served = fairseq_minimodel.load(bodies / "pretrained.pt", both)
    assert served.tokenize([" word3  word10", "", "strange word1"]) == [
        ["\u2581word3", "\u2581word10"],
        [],
        ["<unk>", "\u2581word1"],
    ]
    assert served.tokenize(["wort69"], language="de") == [["\u2581wort69"]]


def test_neither_batches_nor_neighbours_change_a_result(bodies, both, tmp_path):
    texts = sentences("en", 60)
    rows = list(read_question_file(write_questions(tmp_path / "q", WORDS["en"][1:], 3, longest=30)))
    questions, contexts = [row.question for row in rows], [row.context for row in rows]
    asked = {
        "topics.pt": lambda model: [[*one.probabilities.values()] for one in model.predict(texts)],
        "pretrained.pt": lambda model: [
            model.encode(texts).tolist(),
            [
                [one.probability for mask in masks for one in mask]
                for masks in model.fill_mask([f"{text} <mask>" for text in texts])
            ],
        ],
        "questions.pt": lambda model: [
            [answer.score for answer in answers]
            for answers in model.answer(questions, contexts, top=3, **WINDOWS)
        ],
    }
    for body, ask in asked.items():
        together = ask(fairseq_minimodel.load(bodies / body, both["en"]))
        alone = ask(fairseq_minimodel.load(bodies / body, both["en"], max_tokens=1))
        torch.testing.assert_close(_flat(together), _flat(alone), atol=1e-5, rtol=1e-5)


def _flat(nested):
    if isinstance(nested, list):
        return torch.cat([_flat(one) for one in nested])
    return torch.tensor([nested])


def test_a_batch_on_a_cpu_is_small(bodies, both, monkeypatch):
    assert fairseq_minimodel.load(bodies / "topics.pt", both).max_tokens == 1024
    # as if there were a GPU, and it were here
    monkeypatch.setattr(serving, "ready_device", lambda name: name or "cuda")
    monkeypatch.setattr(serving, "LanguageModel", lambda *arguments: arguments[-1].max_tokens)
    assert fairseq_minimodel.load(bodies / "topics.pt", both) == 8192
    assert fairseq_minimodel.load(bodies / "topics.pt", both, device="cpu", max_tokens=7) == 7


def test_results_are_in_the_order_of_the_texts(bodies, both):
    served = fairseq_minimodel.load(bodies / "topics.pt", both["en"], max_tokens=40)
    texts = sentences("en", 40)
    found = [one.probability for one in served.predict(texts)]
    backwards = [one.probability for one in served.predict(texts[::-1])]
    assert backwards == pytest.approx(found[::-1], abs=1e-5)
    assert len(set(found)) > 20
    assert served.predict([]) == [] and served.encode([]).shape == (0, 16)


def test_long_texts_are_cut_and_it_is_said(bodies, both, caplog):
    """To 32 positions, </s> included."""
    served = fairseq_minimodel.load(bodies / "topics.pt", both["en"])
    words = " ".join(WORDS["en"])
    model = plain_model(bodies / "topics.pt", both["en"])
    found, short = served.predict([words, "word1"])
    assert (found.cut, short.cut) == (30, 0)
    logits = plain(model, [0, *ids_of(words)[:30], 2], classification_head_name=HEAD)[0][0]
    assert list(found.probabilities.values()) == pytest.approx(
        logits.softmax(dim=-1).tolist(), abs=1e-5
    )
    states = plain(model, [0, *ids_of(words)[:30], 2], return_all_hiddens=True)[1]["inner_states"]
    assert not caplog.records
    torch.testing.assert_close(served.encode([words, "a"])[0], states[2][1:-1, 0].mean(dim=0))
    assert "1 of 2 texts are longer than the 32 tokens that" in caplog.text


def test_long_questions_are_cut_and_it_is_said(bodies, both, caplog):
    served = fairseq_minimodel.load(bodies / "questions.pt", both["en"])
    contexts = ["word1 word2 word3"] * 2
    served.answer(["word1", "word2"], contexts, **WINDOWS)
    assert not caplog.records
    served.answer(["word1", "word2 word3"], contexts, **WINDOWS)
    assert "1 of 2 questions have more than 1 tokens" in caplog.text


def models_of(served):
    return {name: language.model for name, language in served._languages.items()}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_languages_share_the_body_in_memory(bfloat16, bodies, both):
    names = {**both, "again": both["de"]}
    served = fairseq_minimodel.load(bodies / "topics.pt", names, bfloat16=bfloat16)
    states = {name: model.state_dict() for name, model in models_of(served).items()}
    english, german = states["en"], states["de"]
    assert english.keys() == german.keys()
    own = {name for name in english if is_language_side(name)} | {"encoder.vocabulary"}
    for name in english:
        same = english[name].data_ptr() == german[name].data_ptr()
        assert same == (name not in own), name
        assert english[name].dtype == (torch.bfloat16 if bfloat16 else torch.float32)
    for state in states.values():
        tied = ["encoder.sentence_encoder.embed_tokens.weight", "encoder.lm_head.weight"]
        assert len({state[name].data_ptr() for name in tied}) == 1
    assert german["encoder.lm_head.bias"].shape == (80,)


def test_another_language_becomes_current_without_its_files(bodies, both, tmp_path):
    shutil.copytree(both["de"], tmp_path / "de")
    served = fairseq_minimodel.load(bodies / "topics.pt", [both["en"], tmp_path / "de"])
    shutil.rmtree(tmp_path / "de")
    before = models_of(served)
    assert served.languages == ("en", "de") and served.language == "en"
    texts = sentences("de", 20)
    unknown = served.predict(texts)
    served.use_language("de")
    assert served.language == "de" and models_of(served) == before
    expected = fairseq_minimodel.load(bodies / "topics.pt", both["de"]).predict(texts)
    assert served.predict(texts) == expected
    assert expected != unknown
    served.use_language("en")
    assert served.predict(texts) == unknown


def in_threads(calls, rounds):
    """The results of each call in each round, all at once, with threads changing over very often."""
    barrier = threading.Barrier(len(calls))

    def many(call):
        barrier.wait()
        return [call() for _ in range(rounds)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(calls)) as pool:
            return [future.result() for future in [pool.submit(many, call) for call in calls]]
    finally:
        sys.setswitchinterval(interval)


def test_threads_in_several_languages_do_not_disturb_each_other(bodies, both):
    served = fairseq_minimodel.load(bodies / "topics.pt", both)
    texts = {language: sentences(language, 8, seed=7) for language in both}
    alone = {language: served.predict(texts[language], language=language) for language in both}
    calls = [
        *(lambda name=name: served.predict(texts[name], language=name) for name in both),
        *(lambda name=name: served.use_language(name) for name in both),
    ]
    english, german, *_ = in_threads(calls, rounds=40)
    assert all(found == alone["en"] for found in english)
    assert all(found == alone["de"] for found in german)
    assert alone["en"] != alone["de"]


def test_threads_take_turns_where_a_pass_is_kept_in_the_model(bodies, both, source_data):
    write_module_body(bodies, "tams", source_data)
    served = fairseq_minimodel.load(
        bodies / "tams.pt", both["en"], labels=bodies / "label/dict.txt"
    )
    texts = [sentences("en", 6, longest=2), sentences("en", 6, shortest=4)]
    alone = [served.predict(one) for one in texts]
    found = in_threads([lambda one=one: served.predict(one) for one in texts], rounds=25)
    assert found == [[one] * 25 for one in alone]


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_a_module_over_the_pretrained_body_is_the_body_that_it_was_trained_in(
    kind, bodies, both, source_data
):
    """One that merges into weights, and one that does not."""
    write_module_body(bodies, kind, source_data)
    inside = fairseq_minimodel.load(bodies / f"{kind}.pt", both)
    apart = fairseq_minimodel.load(bodies / "pretrained.pt", both, module=bodies / kind)
    without = fairseq_minimodel.load(bodies / "topics.pt", both)
    texts = sentences("de", 20)
    expected, found, plainly = (
        [list(one.probabilities.values()) for one in model.predict(texts, language="de")]
        for model in (inside, apart, without)
    )
    # merged, it is computed another way than inside, and these weights make much of rounding
    torch.testing.assert_close(_flat(found), _flat(expected), atol=1e-3, rtol=0)
    assert (_flat(found) - _flat(plainly)).abs().max() > 0.01


def test_without_a_pack_the_language_inside_is_spoken(bodies, both):
    """With the dictionary and the tokenizer of the training data."""
    inside = fairseq_minimodel.load(bodies / "pretrained.pt")
    assert inside.languages == ("source",)
    texts = sentences("en", 10)
    expected = fairseq_minimodel.load(bodies / "pretrained.pt", both["en"])
    assert torch.equal(inside.encode(texts), expected.encode(texts))
    assert inside.tokenize(texts) == expected.tokenize(texts)


def test_bfloat16_is_close(bodies, both):
    exact, rough = (
        fairseq_minimodel.load(bodies / "topics.pt", both, bfloat16=bfloat16)
        for bfloat16 in (False, True)
    )
    texts = sentences("de", 50)
    expected, found = (
        _flat([list(one.probabilities.values()) for one in model.predict(texts, language="de")])
        for model in (exact, rough)
    )
    assert 0 < (found - expected).abs().max() < 0.3 and (found - expected).abs().mean() < 0.02
    vectors = torch.nn.functional.cosine_similarity(
        exact.encode(texts, language="de"), rough.encode(texts, language="de")
    )
    assert vectors.min() > 0.97 and vectors.mean() > 0.999


def test_load_is_found_late():
    """The command does not wait for what predicting needs."""
    assert fairseq_minimodel.load is serving.load and not hasattr(fairseq_minimodel, "lode")
    code = (
        "import sys; sys.argv = ['fairseq-minimodel']\n"
        "import fairseq_minimodel\n"
        "assert 'torch' not in sys.modules and 'load' not in dir(fairseq_minimodel)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"body": "absent.pt"}, "no checkpoint absent.pt"),
        ({"languages": "nowhere"}, "nowhere is not a language pack"),
        ({"languages": []}, "no language pack is given"),
        ({"languages": ["packs/de", "packs/de"]}, "are both packs of de: name them"),
        ({"languages": None}, "neither beside it nor in the data .* or give a language pack"),
        ({"device": "nonsense"}, "--device nonsense cannot be used here"),
        ({"labels": "two.txt"}, "has 3 classes and the label dictionary 2"),
        ({"module": "packs/de"}, "packs/de is not a task module"),
    ],
)
def test_what_cannot_be_loaded(options, sentence, bodies, tmp_path, monkeypatch):
    monkeypatch.chdir(bodies)
    (bodies / "two.txt").write_text("a 1\nb 1\n")
    checkpoint = read_checkpoint("topics.pt")
    checkpoint.config["task"]["data"] = "nowhere"
    write_checkpoint(bodies / "moved.pt", checkpoint)
    with pytest.raises(InputError, match=sentence):
        fairseq_minimodel.load(**{"body": "moved.pt", "languages": "packs/de", **options})


@pytest.mark.parametrize(
    ("body", "call", "sentence"),
    [
        ("pretrained.pt", lambda model: model.predict(["x"]),
         "predict needs a body that was fine-tuned to classify, and .*pretrained.pt was pretrained by "
         "masked language modelling: use fill_mask"),
        ("topics.pt", lambda model: model.fill_mask(["<mask>"]),
         "fill_mask needs a body that was pretrained .* was fine-tuned to classify: use predict"),
        ("topics.pt", lambda model: model.answer(["x"], ["x"]), "answer needs .*: use predict"),
        ("questions.pt", lambda model: model.predict(["x"]), "predict needs .*: use answer"),
        ("topics.pt", lambda model: model.predict("word1"), "a single text is given"),
        ("topics.pt", lambda model: model.encode("word1"), "a single text is given"),
        ("topics.pt", lambda model: model.predict(["a", ("b", "c", "d")]), "text 1 .* has 3 parts"),
        ("topics.pt", lambda model: model.predict(["a", 3.5]), "text 1 .* type float"),
        ("topics.pt", lambda model: model.encode(["a", None]), "text 1 .* type NoneType"),
        ("topics.pt", lambda model: model.predict(["\ud800"]), "text 0 .* half of a character"),
        ("topics.pt", lambda model: model.encode(["a"], layer=4), "layer 4: .* the layers 1 to 3"),
        ("topics.pt", lambda model: model.predict(["a"], language="sw"),
         "without the language 'sw'; it has en, de"),
        ("topics.pt", lambda model: model.use_language("sw"), "without the language 'sw'"),
        ("pretrained.pt", lambda model: model.fill_mask(["<mask>", "word1"]), "text 1 .* no <mask>"),
        ("pretrained.pt", lambda model: model.fill_mask(["<mask>" + " word1" * 30]),
         "text 0 .* has 33 tokens with <s> and </s>, and the body 32 positions"),
        ("pretrained.pt", lambda model: model.fill_mask(["<mask>"], top=66), "give 1 to 65 tokens"),
        ("pretrained.pt", lambda model: model.fill_mask(["<mask>"], top=0), "give 1 to 65 tokens"),
        ("questions.pt", lambda model: model.answer(["a"], ["b"], top=21, **WINDOWS),
         "give 1 to 20 answers"),
        ("questions.pt", lambda model: model.answer(["a"], ["b", "c"], **WINDOWS),
         "1 questions and 2 contexts"),
        ("questions.pt", lambda model: model.answer(["a"], ["b"]),
         "--max-length 384 is more than the 32 positions"),
    ],
)  # fmt: skip
def test_what_a_model_does_not_do(body, call, sentence, bodies, both):
    served = fairseq_minimodel.load(bodies / body, both)
    with pytest.raises(InputError, match=sentence) as raised:
        call(served)
    assert "\n" not in str(raised.value) and served.language == "en"
