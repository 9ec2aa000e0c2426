"""XNLI, MultiNLI, SNLI, PAWS-X and SIB-200 in the forms in which they are published."""

import json

import pytest
from support.published import SHAPES, publish, tsv

from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.kinds.examples import Example

PARSES = ("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse")
XNLI_HEADER = (
    "language", "gold_label", *PARSES, "sentence1", "sentence2", "promptID", "pairID", "genre",
    "label1", "label2", "label3", "label4", "label5", "sentence1_tokenized", "sentence2_tokenized",
    "match",
)  # fmt: skip
NLI_HEADER = (
    "gold_label", *PARSES, "sentence1", "sentence2", "promptID", "pairID", "genre",
    "label1", "label2", "label3", "label4", "label5",
)  # fmt: skip
ROWS = [
    ("de", "neutral", 'Die Maus "Anna" schläft.', "Sie träumt."),
    ("sw", "entailment", "Panya analala.", '"Mnyama analala."'),
    ("de", "-", "Es regnet.", "Es ist Montag."),
    ("sw", "contradiction", "Mvua inanyesha.", "Jua linawaka."),
    ("de", "contradiction", '"Es regnet.', "Es ist trocken."),
]
GERMAN = (
    Example(('Die Maus "Anna" schläft.', "Sie träumt."), "neutral"),
    Example(('"Es regnet.', "Es ist trocken."), "contradiction"),
)
SWAHILI = (
    Example(("Panya analala.", '"Mnyama analala."'), "entailment"),
    Example(("Mvua inanyesha.", "Jua linawaka."), "contradiction"),
)


def xnli_line(language, label, first, second):
    parses = ("( ( x ) )",) * 4
    return (language, label, *parses, first, second, "7", "7", "fiction", label, *[""] * 4, "t", "t",
            "True")  # fmt: skip


XNLI_TSV = tsv(XNLI_HEADER, *(xnli_line(*row) for row in ROWS))
XNLI_JSON = "".join(
    json.dumps(dict(zip(("language", "gold_label", "sentence1", "sentence2"), row, strict=True)))
    + "\n"
    for row in ROWS
)


def csv_field(text):
    return '"' + text.replace('"', '""') + '"' if '"' in text else text


def xtreme(language):
    """As Python's csv writer leaves it: quotation marks at need, CR LF."""
    rows = [row for row in ROWS if row[0] == language]
    return "".join(
        "\t".join(map(csv_field, (first, second, label))) + "\r\n"
        for _, label, first, second in rows
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "files",
    [
        {"XNLI-1.0/xnli.dev.tsv": XNLI_TSV, "XNLI-1.0/xnli.dev.jsonl": "unread"},
        {"XNLI-1.0/xnli.dev.jsonl": XNLI_JSON, "XNLI-1.0/xnli.test.tsv": "unread"},
        {"xnli/dev-de.tsv": xtreme("de"), "xnli/dev-sw.tsv": xtreme("sw"), "xnli/x.tsv": "unread"},
    ],
    ids=["tsv", "jsonl", "xtreme"],
)
def test_xnli_is_the_same_in_every_form_and_shape(tmp_path, files, shape):
    splits = read_benchmark("xnli", publish(tmp_path, files, shape), "dev")
    assert list(splits) == ["de", "sw"]
    assert splits["de"].rows == GERMAN
    assert splits["de"].left_out == {"unlabelled": 1}
    assert (splits["sw"].rows, splits["sw"].left_out) == (SWAHILI, {})
    assert [file.split("/")[-1] for file in splits["de"].files] in (
        ["xnli.dev.tsv"],
        ["xnli.dev.jsonl"],
        ["dev-de.tsv"],
    )


def test_only_the_languages_that_are_asked_for(tmp_path):
    path = publish(tmp_path, {"a/dev-de.tsv": "unread", "a/dev-sw.tsv": xtreme("sw")})
    assert list(read_benchmark("xnli", path, "dev", ["sw"])) == ["sw"]
    path = publish(tmp_path, {"XNLI-1.0/xnli.test.tsv": XNLI_TSV}, "zip")
    assert list(read_benchmark("xnli", path, "test", ["sw"])) == ["sw"]


@pytest.mark.parametrize(
    ("benchmark", "name", "split"),
    [
        ("multinli", "multinli_1.0/multinli_1.0_train", "train"),
        ("multinli", "multinli_1.0/multinli_1.0_dev_mismatched", "dev_mismatched"),
        ("snli", "snli_1.0/snli_1.0_dev", "dev"),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_multinli_and_snli(tmp_path, benchmark, name, split, suffix):
    # the columns that are not wanted may be missing at the end of a line
    rows = [(label, *["( x )"] * 4, *texts, "7", "7n") for _, label, *texts in ROWS]
    text = tsv(NLI_HEADER, *rows) if suffix == ".txt" else XNLI_JSON
    other = {f"{name.rsplit('_', 1)[0]}_other{suffix}": "unread"}
    path = publish(tmp_path, {name + suffix: text, **other}, "zip")
    split = read_benchmark(benchmark, path, split)["en"]
    assert split.rows == (GERMAN[0], SWAHILI[0], SWAHILI[1], GERMAN[1])
    assert split.left_out == {"unlabelled": 1}
    assert split.files == (f"{path}/{name}{suffix}",)


def test_counterfactual_snli_is_written_by_a_csv_writer(tmp_path):
    rows = [(csv_field(first), csv_field(second), label) for _, label, first, second in ROWS]
    text = tsv(("sentence1", "sentence2", "gold_label"), *rows)
    path = publish(tmp_path, {"NLI/original/train.tsv": text, "NLI/original/dev.tsv": "unread"})
    split = read_benchmark("snli-counterfactual", path, "train")["en"]
    assert split.rows == (GERMAN[0], SWAHILI[0], SWAHILI[1], GERMAN[1])


PAWS = [
    ("1", 'Das "Haus" ist groß.', "Groß ist das Haus.", "1"),
    ("2", "NS", "Groß ist das Haus.", "0"),
    ("3", "Das Haus ist groß.", " ", "1"),
    ("4", " Anna sah Otto .", "Otto sah Anna NS . ", "0"),
]
PAWS_ROWS = (
    Example(('Das "Haus" ist groß.', "Groß ist das Haus."), "1"),
    Example(("Anna sah Otto .", "Otto sah Anna NS ."), "0"),
)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("split", "stem"), [("dev", "dev_2k"), ("test", "test_2k")])
def test_pawsx(tmp_path, shape, split, stem):
    text = tsv(("id", "sentence1", "sentence2", "label"), *PAWS)
    path = publish(tmp_path, {f"x-final/{code}/{stem}.tsv": text for code in ("de", "ko")}, shape)
    splits = read_benchmark("pawsx", path, split)
    assert list(splits) == ["de", "ko"]
    assert splits["ko"].rows == PAWS_ROWS
    assert splits["ko"].left_out == {"untranslated": 2}


def test_pawsx_training_files_have_two_names(tmp_path):
    text = tsv(("id", "sentence1", "sentence2", "label"), *PAWS)
    files = {"x-final/en/train.tsv": text, "x-final/de/translated_train.tsv": text}
    splits = read_benchmark("pawsx", publish(tmp_path, files, "tar.gz"), "train")
    assert {language: split.rows for language, split in splits.items()} == {
        "de": PAWS_ROWS,
        "en": PAWS_ROWS,
    }


def test_pawsx_of_xtreme(tmp_path):
    text = "".join("\t".join(map(csv_field, row[1:])) + "\r\n" for row in PAWS)
    splits = read_benchmark("pawsx", publish(tmp_path, {"pawsx/dev-de.tsv": text}), "dev", ["de"])
    assert splits["de"].rows == PAWS_ROWS
    assert splits["de"].left_out == {"untranslated": 2}


@pytest.mark.parametrize("shape", SHAPES)
def test_sib(tmp_path, shape):
    text = tsv(("index_id", "category", "text"), ("9", "travel", csv_field('Der "Zug" fährt.')))
    files = {f"data/annotated/{code}/test.tsv": text for code in ("deu_Latn", "swh_Latn")}
    files |= {"data/eng/test.tsv": "unread", "data/annotated/deu_Latn/labels.txt": "unread"}
    path = publish(tmp_path, files, shape)
    rows = (Example(('Der "Zug" fährt.',), "travel"),)
    assert {key: split.rows for key, split in read_benchmark("sib200", path, "test").items()} == {
        "deu_Latn": rows,
        "swh_Latn": rows,
    }


def test_the_folder_tells_the_language_of_a_single_file(tmp_path, monkeypatch):
    text = tsv(("index_id", "category", "text"), ("9", "travel", "Treni."))
    path = publish(tmp_path, {"data/annotated/swh_Latn/dev.tsv": text})
    monkeypatch.chdir(path / "data/annotated/swh_Latn")
    assert read_benchmark("sib200", "dev.tsv", "dev")["swh_Latn"].rows[0].texts == ("Treni.",)


NLI_JSON = {"gold_label": "neutral", "sentence1": "a", "sentence2": "b", "language": "de"}


@pytest.mark.parametrize(
    ("benchmark", "name", "content", "message"),
    [
        (
            "xnli",
            "dev-de.tsv",
            "a\tb\tneutral\na\tb\n",
            "dev-de.tsv, line 2: 2 columns, but column 3",
        ),
        ("xnli", "dev-de.tsv", "a\tb\tc\tneutral\n", "line 1: 4 columns, and 3 are due"),
        (
            "xnli",
            "dev-de.tsv",
            "a\tb\tneutral\nc\td\te\tneutral\n",
            "4 columns, and 3 are due",
        ),
        ("xnli", "dev-de.tsv", '"a\tb\tneutral\n', "line 1: the quotation marks do not pair up"),
        ("xnli", "dev-de.tsv", '"a" x\tb\tneutral\n', "line 1: the quotation marks do not pair up"),
        ("xnli", "dev-de.tsv", "a\tb\tmaybe\n", "line 1: the label is 'maybe', not one of contra"),
        ("xnli", "dev-de.tsv", "a\tb\t\n", "line 1: the label is ''"),
        ("xnli", "dev-de.tsv", "a\tb\tneutral\n\t\t\n", "line 2: the label is ''"),
        ("xnli", "dev-de.tsv", b"a\tb\tneutral\n\n\xc3\tb\tneutral\n", "line 3: not UTF-8"),
        ("xnli", "dev-de.tsv", "", "has no row to use in 'de' .an empty file"),
        ("xnli", "dev-de.tsv", "a\tb\t-\n", "has no row to use in 'de' .1 unlabelled"),
        ("xnli", "xnli.dev.tsv", "", "line 1: no column 'sentence1' in the header"),
        ("xnli", "xnli.dev.tsv", "language\tsentence1\n", "no column 'sentence2' in the header"),
        ("xnli", "xnli.dev.tsv", tsv(XNLI_HEADER), "there is no language to read"),
        (
            "xnli",
            "xnli.dev.tsv",
            tsv(XNLI_HEADER, xnli_line(*ROWS[0])[:7]),
            "7 columns, but column 8",
        ),
        (
            "xnli",
            "xnli.dev.tsv",
            tsv(XNLI_HEADER, xnli_line("de", "neutral", "a\tb", "c")),
            "line 2: 20 columns, and 19 in the header",
        ),
        (
            "xnli",
            "xnli.dev.jsonl",
            json.dumps(NLI_JSON) + "\n{",
            "xnli.dev.jsonl, line 2: not JSON",
        ),
        ("xnli", "xnli.dev.jsonl", "[" * 100_000, "xnli.dev.jsonl, line 1: the JSON is nested"),
        ("xnli", "xnli.dev.jsonl", "[]", "line 1: JSON, but not an object"),
        ("xnli", "xnli.dev.jsonl", "{}", "line 1: no text .*under the key 'sentence1'"),
        (
            "xnli",
            "xnli.dev.jsonl",
            json.dumps({**NLI_JSON, "gold_label": 1}),
            "line 1: no text under the key 'gold_label'",
        ),
        ("pawsx", "dev-de.tsv", "a\tb\t2\n", "the label is '2', not one of 0, 1"),
        ("pawsx", "de/dev_2k.tsv", "id\tsentence1\tlabel\n", "no column 'sentence2'"),
        ("sib200", "deu_Latn/dev.tsv", "index_id\tcategory\ttext\n1\tlove\tx\n", "label is 'love'"),
    ],
)
def test_bad_files_are_named(tmp_path, benchmark, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_benchmark(benchmark, publish(tmp_path, {name: content}), "dev")
    assert "published" in str(caught.value)
