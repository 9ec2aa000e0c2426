"""Where the tokens of a text stand in it, windows over it, and the data of the task span_qa."""

import json

import numpy
import pytest
import sentencepiece
from fairseq.data.indexed_dataset import MMapIndexedDataset
from support.generated_questions import MARKER, write_questions
from support.generated_text import contents

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.corpus.questions import prepare_questions
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.answer_metrics import exact_match, normalise_squad
from fairseq_minimodel.kinds.questions import read_question_file
from fairseq_minimodel.kinds.window_options import NO_ANSWER, WindowOptions, read_record
from fairseq_minimodel.kinds.windows import AligningVocabulary, make_windows
from fairseq_minimodel.vocabulary.tokenizers import dictionary_pieces, load_sentencepiece

# Characters that Unicode's NFKC, and with it SentencePiece, turns into none, one or more others.
STRANGE = (
    "\ufeff \u00a0Die ﬁxe 🚆-Idee:  ½ Ω\u0301, ３％\u200b (a\u0308).\n e\u0301t\u00e9 \ufdfa ."
)


def make_vocabulary(folder, texts, **options):
    """A SentencePiece model trained on the texts, with a dictionary in another order.

    A piece with a line break cannot be in a dictionary; it is <unk>.
    """
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "model"),
        minloglevel=2,
        hard_vocab_limit=False,
        max_sentence_length=1_000_000,
        **options,
    )
    pieces = [piece for piece, _ in dictionary_pieces(load_sentencepiece(folder / "model.model"))]
    lines = [f"{piece} 1\n" for piece in reversed(pieces) if "\n" not in piece]
    (folder / "dict.txt").write_text("".join(lines), encoding="utf-8")
    return AligningVocabulary(folder / "model.model", folder / "dict.txt")


MODELS = {
    "characters": {"model_type": "char"},
    "unigram": {"model_type": "unigram", "vocab_size": 45},
    "bytes": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 330},
    "as it is": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
}


@pytest.mark.parametrize("model", MODELS)
def test_every_span_of_characters_is_in_the_text_of_its_tokens(model, tmp_path):
    training = [STRANGE.replace("🚆", "").strip()] * 3  # so that something is unknown
    vocabulary = make_vocabulary(tmp_path, training, **{"vocab_size": 60, **MODELS[model]})
    aligned = vocabulary.align(STRANGE)
    assert aligned.ids.tolist() == vocabulary.encode(STRANGE).tolist()
    assert aligned.begins.tolist() == sorted(aligned.begins)
    assert aligned.ends.tolist() == sorted(aligned.ends)
    kept = {
        place
        for begin, end in zip(aligned.begins, aligned.ends, strict=True)
        for place in range(begin, end)
    }
    for begin in range(len(STRANGE)):
        for end in range(begin + 1, len(STRANGE) + 1):
            span = aligned.span(begin, end)
            if span is None:
                assert not kept & set(range(begin, end))
                continue
            first, last = span
            wanted = kept & set(range(begin, end))
            # the shortest text of whole tokens around it, and no token of its first character missed
            assert aligned.begins[first] == max(b for b in aligned.begins if b <= min(wanted))
            assert aligned.ends[last] == min(e for e in aligned.ends if e > max(wanted))
            assert first == 0 or aligned.begins[first - 1] < aligned.begins[first]


def test_characters_that_become_several_and_none(tmp_path):
    vocabulary = make_vocabulary(tmp_path, ["ab fi 1⁄2 x"], vocab_size=30, model_type="char")
    text = " ﬁ  ½\u200b🚆x "
    aligned = vocabulary.align(text)
    symbols = [vocabulary.symbols[index] for index in aligned.ids]
    assert symbols == ["▁", "f", "i", "▁", "1", "⁄", "2", "▁", "<unk>", "x"]
    assert aligned.begins.tolist() == [1, 1, 1, 2, 4, 4, 4, 5, 6, 7]
    assert aligned.ends.tolist() == [1, 1, 2, 4, 4, 4, 5, 6, 7, 8]
    assert aligned.span(4, 5) == (4, 6)  # the whole of ½
    assert aligned.span(1, 2) == (0, 2)
    assert aligned.span(6, 7) == (8, 8)
    assert aligned.span(0, 1) is None and aligned.span(8, 9) is None  # space at both ends
    assert aligned.text_of((3, 6)) == "½"
    assert aligned.text_of((3, 3)) == ""
    assert len(vocabulary.align(" \n").ids) == 0 and vocabulary.align("").span(0, 1) is None


def test_windows_by_hand():
    question, context = numpy.array([21, 22, 23]), numpy.arange(30, 40)
    options = WindowOptions(max_length=10, stride=3, max_question=2)
    windows = list(make_windows(question, context, options))
    assert [window.tokens.tolist() for window in windows] == [
        [0, 21, 22, 2, 2, 30, 31, 32, 33, 2],
        [0, 21, 22, 2, 2, 33, 34, 35, 36, 2],
        [0, 21, 22, 2, 2, 36, 37, 38, 39, 2],
    ]
    assert [window.context_tokens for window in windows] == [4, 4, 4]
    # tokens 3 to 4 of the context (33, 34) are whole in the second window alone
    assert [window.position((3, 4)) for window in windows] == [NO_ANSWER, (5, 6), NO_ANSWER]
    assert [window.position((3, 3)) for window in windows] == [(8, 8), (5, 5), NO_ANSWER]
    assert [window.position((9, 9)) for window in windows] == [NO_ANSWER, NO_ANSWER, (8, 8)]
    (empty,) = make_windows(question, context[:0], options)
    assert empty.tokens.tolist() == [0, 21, 22, 2, 2, 2] and empty.context_tokens == 0


@pytest.mark.parametrize("stride", [1, 3, 8, 50])
@pytest.mark.parametrize("asked", [0, 1, 6, 9])
def test_windows_cover_every_token_with_the_stride(stride, asked):
    options = WindowOptions(max_length=20, stride=stride, max_question=6)
    for size in range(40):
        context = numpy.arange(100, 100 + size)
        windows = list(make_windows(numpy.arange(50, 50 + asked), context, options))
        room = 20 - 4 - min(asked, 6)
        firsts = [window.first for window in windows]
        assert firsts == [number * min(stride, room) for number in range(len(windows))]
        seen = set()
        for window in windows:
            assert len(window.tokens) <= 20
            part = window.tokens[window.offset : window.offset + window.context_tokens]
            assert part.tolist() == context[window.first : window.first + room].tolist()
            assert window.tokens[: window.offset].tolist() == [
                0, *range(50, 50 + min(asked, 6)), 2, 2,
            ]  # fmt: skip
            assert window.tokens[window.offset + window.context_tokens :].tolist() == [2]
            for token in range(window.first, window.first + window.context_tokens):
                start, end = window.position((token, token))
                assert start == end and window.tokens[start] == context[token]
            seen.update(part.tolist())
        assert seen == set(context.tolist())
        if len(windows) > 1:  # none too many
            assert windows[-2].first + room < size


def items(path):
    dataset = MMapIndexedDataset(str(path))
    return [dataset[index].tolist() for index in range(len(dataset))]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    words = [f"word{index}" for index in range(1, 60)]
    write_questions(folder / "train.json", words, seed=1, count=30)
    write_questions(folder / "valid.json", words, seed=2, count=10)
    return folder


def test_the_command_writes_windows_and_where_the_answers_are(files, source_data, tmp_path, capsys):
    arguments = [
        "prepare-questions", "--train", files / "train.json",
        "--valid", files / "valid.json", "--dict", source_data / "dict.txt",
        "--sentencepiece-model", source_data / "sentencepiece.bpe.model",
        "--max-length", "10", "--stride", "2", "--max-question", "3", "--output", tmp_path / "data",
    ]  # fmt: skip
    for _ in range(2):  # the second replaces the first
        assert main(list(map(str, arguments))) == 0
    printed = capsys.readouterr().out
    assert read_record(tmp_path / "data/windows.json") == {
        "max_length": 10, "stride": 2, "max_question": 3, "separators": 2
    }  # fmt: skip
    assert (tmp_path / "data/dict.txt").read_bytes() == (source_data / "dict.txt").read_bytes()
    vocabulary = AligningVocabulary(
        source_data / "sentencepiece.bpe.model", source_data / "dict.txt"
    )
    for split in ("train", "valid"):
        windows = items(tmp_path / "data/windows" / split)
        spans = items(tmp_path / "data/spans" / split)
        assert len(windows) == len(spans) and max(map(len, windows)) == 10
        questions = list(read_question_file(files / f"{split}.json"))
        assert f"{split} ({files / split}.json): {len(questions)} questions in {len(windows)}" in (
            printed
        )
        # one item per window, in the order of the questions; a word is a token
        expected_windows, expected_spans = [], []
        for question in questions:
            ids = [vocabulary.encode(text) for text in (question.question, question.context)]
            place = question.context.split().index(MARKER) + 1
            for window in make_windows(*ids, WindowOptions(10, 2, 3)):
                expected_windows.append(window.tokens.tolist())
                expected_spans.append(list(window.position((place, place))))
        assert windows == expected_windows and spans == expected_spans
        assert [0, 0] in spans


def test_questions_that_are_cut_are_counted(files, source_data, tmp_path, capsys):
    data = json.loads((files / "valid.json").read_text())
    for index, paragraph in enumerate(data["data"][0]["paragraphs"]):
        paragraph["qas"][0]["question"] = " ".join(["word1"] * (4 if index < 3 else 2))
    (tmp_path / "q.json").write_text(json.dumps(data))
    prepare_questions(
        tmp_path / "q.json", tmp_path / "q.json", source_data / "sentencepiece.bpe.model",
        source_data / "dict.txt", tmp_path / "data", max_length=12, stride=2, max_question=3,
    )  # fmt: skip
    assert capsys.readouterr().out.count(", 3 questions were cut at --max-question") == 2


def test_bad_offsets_are_refused_left_out_or_moved(files, source_data, tmp_path, capsys):
    data = json.loads((files / "valid.json").read_text())
    answer = data["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]
    answer["answer_start"] += 1
    (tmp_path / "q.json").write_text(json.dumps(data))
    arguments = [
        "prepare-questions", "--train", files / "train.json", "--valid", tmp_path / "q.json",
        "--sentencepiece-model", source_data / "sentencepiece.bpe.model",
        "--dict", source_data / "dict.txt", "--output", tmp_path / "data",
    ]  # fmt: skip
    assert main(list(map(str, arguments))) == 2
    assert "1 of 10 answers do not stand in their context" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    for rule, count in (("skip", 9), ("nearest", 10)):
        assert main([*map(str, arguments), "--bad-offsets", rule]) == 0
        assert f"{tmp_path / 'q.json'}): {count} questions in" in capsys.readouterr().out


def test_one_language_of_several(tmp_path, files):
    data = json.loads((files / "valid.json").read_text())
    for index, paragraph in enumerate(data["data"][0]["paragraphs"]):
        paragraph["qas"][0]["id"] = f"{('swahili', 'english')[index < 3]}-{index}"
    (tmp_path / "both.json").write_text(json.dumps(data))
    assert len(list(read_question_file(tmp_path / "both.json"))) == 10
    english = list(read_question_file(tmp_path / "both.json", "en"))
    assert [question.id for question in english] == ["english-0", "english-1", "english-2"]
    with pytest.raises(InputError, match="no question in the language 'ko'"):
        list(read_question_file(tmp_path / "both.json", "ko"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 68}, "--max-length 68 leaves no room.*at least 69"),
        ({"stride": 0}, "--stride is 0"),
        ({"max_question": 0}, "--max-question is 0"),
        ({"train": "absent.json"}, "absent.json does not exist"),
        ({"language": "en"}, "the id does not begin with a language"),
        ({"output": "."}, "cannot be the output"),
        ({"valid": "unanswered.json"}, "unanswered.json holds no question with an answer"),
        ({"valid": "lost.json"}, "keeps no character of any answer"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    options, message, files, source_data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, answer in (("unanswered", []), ("lost", [{"text": "\u200b", "answer_start": 5}])):
        qas = [{"id": "1", "question": "word2", "answers": answer}]
        paragraphs = [{"context": "word1\u200b", "qas": qas}]
        content = json.dumps({"data": [{"paragraphs": paragraphs}]})
        (tmp_path / f"{name}.json").write_text(content)
    before = contents(tmp_path)
    arguments = {
        "train": files / "train.json",
        "valid": files / "valid.json",
        "sentencepiece_model": source_data / "sentencepiece.bpe.model",
        "dictionary": source_data / "dict.txt",
        "output": "data",
    }
    with pytest.raises(InputError, match=message):
        prepare_questions(**{**arguments, **options})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("language", ["ar", "de", "el", "en", "hi", "ru", "tr", "vi"])
def test_every_answer_of_xquad_is_in_the_text_of_its_tokens(language, shared_data, tmp_path):
    questions = read_benchmark("xquad", shared_data / "qa", "test", [language])[language].rows
    contexts = dict.fromkeys(question.context for question in questions)
    vocabulary = make_vocabulary(
        tmp_path, contexts, vocab_size=8000, character_coverage=0.9998, num_threads=1
    )
    aligned = {context: vocabulary.align(context) for context in contexts}
    whole = right = 0
    for question in questions:
        (answer,) = question.answers
        context = aligned[question.context]
        first, last = context.span(answer.start, answer.start + len(answer.text))
        begin, end = context.begins[first], context.ends[last]
        # the very characters of the answer, and no token more
        stop = answer.start + len(answer.text)
        assert begin == context.begins[context.begins <= answer.start].max()
        assert end == context.ends[context.ends >= stop].min()
        found = context.text_of((first, last))
        whole += found == answer.text.strip()
        right += exact_match(found, [answer.text], normalise_squad)
    # What a model that makes no mistake would score: see docs/questions.md.
    assert whole / len(questions) > 0.95
    assert right / len(questions) > 0.992
