"""What `inspect` says of binarised data, against fairseq's own reader."""

import json
import shutil
import subprocess
import sys

import pytest
from fairseq.data.indexed_dataset import MMapIndexedDataset
from support.generated_questions import write_questions
from support.generated_tags import write_columns
from support.generated_text import make_documents

from fairseq_minimodel.cli import main
from fairseq_minimodel.corpus.prepare import prepare
from fairseq_minimodel.corpus.questions import prepare_questions
from fairseq_minimodel.inspect.command import describe
from fairseq_minimodel.inspect.facts import in_words

EOS, UNK = 2, 3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Data of two shards."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "text.txt").write_text("\n\n".join(make_documents()) + "\n", encoding="utf-8")
    options = {"workers": 1, "valid_fraction": 0.1, "shards": 2, "character_coverage": 0.98}
    prepare([folder / "text.txt"], folder / "data", **options)
    return folder / "data"


def items(prefix):
    dataset = MMapIndexedDataset(str(prefix))
    return [dataset[index].tolist() for index in range(len(dataset))]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            {
                "documents": None,
                "lines": 5245,
                "tokens": 1,
                "unknown_share": 0.000315,
                "longest": 25,
            },
            "5,245 lines, 1 token, 0.0315 % unknown, longest 25",
        ),
        (
            {"examples": 1, "labels": {"same": 1200, "other": 0}},
            "1 example; labels same 1,200, other 0",
        ),
        ({"files": ["a.txt", "b.txt"], "text_bytes": 1_100_000}, "a.txt, b.txt, 1.1 MB of text"),
        ({"limit": None}, "none"),
    ],
)
def test_values_read_with_their_units(value, words):
    assert in_words(value) == words


def test_text_in_shards(prepared):
    found = describe(prepared).as_json()
    shards = [prepared / "shard00", prepared / "shard01"]
    held = [item for shard in shards for item in items(shard / "train")]
    tokens = sum(held, [])
    record = json.loads((prepared / "prepare.json").read_text())["counts"]
    assert found["title"] == "data for masked language modelling, 2 shards"
    assert found["train"] == {
        "documents": record["train"]["documents"],
        "lines": sum(len(item) > 1 for item in held),
        "tokens": len(tokens),
        "unknown_share": pytest.approx(tokens.count(UNK) / (len(tokens) - tokens.count(EOS)), abs=1e-7),
        "longest": max(map(len, held)),
    }  # fmt: skip
    assert found["train"]["unknown_share"] > 0
    assert found["valid"]["documents"] == record["valid"]["documents"]
    assert found["vocabulary"]["size"] == record["vocabulary"] + 1  # with <mask>
    assert found["vocabulary"]["tokenizer"] == "sentencepiece.bpe.model"
    assert found["prepared_from"]["duplicates"] == record["duplicates"] > 0
    assert found["warnings"] == []


def test_what_prepare_did_not_write_is_counted(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "data")
    (tmp_path / "data/prepare.json").unlink()
    found, whole = describe(tmp_path / "data").as_json(), describe(prepared).as_json()
    assert found["train"] == whole["train"] and found["valid"] == whole["valid"]
    assert "prepared_from" not in found


def test_a_record_of_other_data_is_warned_of(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "data")
    record = json.loads((prepared / "prepare.json").read_text())
    record["counts"]["valid"]["tokens"] += 1
    (tmp_path / "data/prepare.json").write_text(json.dumps(record))
    assert "prepare.json is of other data" in describe(tmp_path / "data").as_json()["warnings"][0]
    (tmp_path / "data/prepare.json").write_text("{}")
    assert main(["inspect", str(tmp_path / "data")]) == 2


def test_data_that_fairseq_made(source_data):
    found = describe(source_data).as_json()
    held = items(source_data / "train")
    assert found["train"]["lines"] == len(held) == 200
    assert found["train"]["documents"] is None  # nothing stands between them
    assert found["train"]["tokens"] == sum(map(len, held))


def test_sentence_pairs(pair_data):
    description = describe(pair_data)
    found = description.as_json()
    assert description.title == "sentence pairs for classification (3 classes)"
    assert found["train"]["labels"] == {"same": 16, "other": 16, "neither": 16}
    assert found["valid"]["labels"] == {"same": 5, "other": 5, "neither": 5}
    for part in ("input0", "input1"):
        held = items(pair_data / part / "train")
        assert found["train"][part]["tokens"] == sum(map(len, held))
        assert found["train"][part]["longest"] == max(map(len, held))
    assert found["labels"] == ["same", "other", "neither"]


def test_questions(source_data, tmp_path):
    words = [f"word{index}" for index in range(60)]
    train, valid = (write_questions(tmp_path / f"{n}.json", words, seed=n) for n in (1, 2))
    prepare_questions(
        train, valid, source_data / "sentencepiece.bpe.model", source_data / "dict.txt",
        tmp_path / "data", max_length=14, stride=3, max_question=4,
    )  # fmt: skip
    found = describe(tmp_path / "data").as_json()
    windows, spans = (items(tmp_path / "data" / name / "valid") for name in ("windows", "spans"))
    answered = sum(span != [0, 0] for span in spans)
    assert found["title"] == "questions for span_qa"
    assert found["valid"]["windows"] == len(windows) > answered == found["valid"]["with_answer"] > 0
    assert found["valid"]["longest"] == max(map(len, windows))


def test_a_dictionary_and_a_tokenizer(source_data, capsys):
    dictionary = describe(source_data / "dict.txt").as_json()
    assert (dictionary["lines"], dictionary["vocabulary"]["size"]) == (60, 65)
    tokenizer = describe(source_data / "sentencepiece.bpe.model").as_json()
    assert tokenizer["title"] == "SentencePiece model"
    assert tokenizer["pieces"]["all"] == 63 and tokenizer["pieces"]["for_dictionary"] == 60


def test_dictionaries_tokenizers_and_data_do_not_wait_for_torch(source_data, pair_data):
    paths = [
        source_data,
        source_data / "dict.txt",
        source_data / "sentencepiece.bpe.model",
        pair_data,
    ]
    code = (
        "import sys\nfrom fairseq_minimodel.cli import main\n"
        f"assert main(['inspect', *{[str(path) for path in paths]}]) == 0\n"
        "assert not {'torch', 'fairseq'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train.bin", "train.bin has .* bytes, and its index says"),
        ("train.idx", "train.idx is damaged or cut off"),
    ],
)
def test_data_that_was_cut_off(source_data, tmp_path, capsys, name, words):
    shutil.copytree(source_data, tmp_path / "data")
    path = tmp_path / "data" / name
    path.write_bytes(path.read_bytes()[:-2])
    assert main(["inspect", str(tmp_path / "data")]) == 2
    with pytest.raises(ValueError, match=words):
        describe(tmp_path / "data")
    path.unlink()
    with pytest.raises(ValueError, match=f"there is no .*{name}"):
        describe(tmp_path / "data")


def test_other_formats_and_parts_that_do_not_belong_together(pair_data, source_data, tmp_path):
    shutil.copytree(source_data, tmp_path / "data")
    (tmp_path / "data/valid.idx").write_bytes(b"TNTIDX\x00\x00" + bytes(40))
    with pytest.raises(ValueError, match="is not an index of fairseq's mmap format"):
        describe(tmp_path / "data")
    shutil.copytree(pair_data, tmp_path / "pairs")
    for end in ("bin", "idx"):
        shutil.copyfile(pair_data / f"label/valid.{end}", tmp_path / f"pairs/label/train.{end}")
    with pytest.raises(ValueError, match="15 items and .* has 48 items: they belong together"):
        describe(tmp_path / "pairs")
    (tmp_path / "dict.txt").write_text("a word without a count\n")
    with pytest.raises(ValueError, match="line 1"):
        describe(tmp_path / "dict.txt")


def test_tags_of_other_windows_are_refused(source_data, tmp_path):
    words = [f"word{index}" for index in range(60)]
    for seed, name in enumerate(("one", "other")):
        path = write_columns(tmp_path / f"{name}.txt", words, seed, count=20)
        files = ["--train", path, "--valid", path, "--output", tmp_path / name,
                 "--dict", source_data / "dict.txt",
                 "--sentencepiece-model", source_data / "sentencepiece.bpe.model"]  # fmt: skip
        assert main(["prepare-tags", *map(str, files)]) == 0
    describe(tmp_path / "one")
    for end in ("bin", "idx"):  # as many windows, of other lengths
        shutil.copyfile(tmp_path / f"other/tags/train.{end}", tmp_path / f"one/tags/train.{end}")
    with pytest.raises(ValueError, match="has not one tag for each token of train"):
        describe(tmp_path / "one")
