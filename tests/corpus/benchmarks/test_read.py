"""Which benchmark, split, files and languages are meant."""

import pytest
from support.published import publish

from fairseq_minimodel.corpus.benchmarks.read import read_benchmark
from fairseq_minimodel.corpus.benchmarks.table import ALIASES, BENCHMARKS
from fairseq_minimodel.errors import InputError

PAIR = "a\tb\tneutral\n"
TOPIC = "index_id\tcategory\ttext\n1\ttravel\tx\n"


@pytest.mark.parametrize(
    ("name", "split", "languages", "message"),
    [
        ("xnlli", "dev", None, "no benchmark 'xnlli'; there are xnli, multinli, "),
        ("xnli", "valid", None, "xnli has no split 'valid'; it has dev, test, train"),
        ("xquad", "dev", None, "xquad has no split 'dev'; it has test"),
        ("xnli", "dev", ["de", "fr"], r"\(xnli, dev\) has no language 'fr'; there is de, sw"),
        ("xnli", "dev", [], "no language to read"),
        (
            "xnli",
            "test",
            None,
            "no file called xnli.test.tsv, xnli.test.jsonl, test-LANGUAGE.tsv; files must keep",
        ),
        (
            "mlqa",
            "test",
            None,
            "no file called test-context-LANGUAGE-question-QUESTION.json; files must keep",
        ),
        ("tatoeba", "test", None, "tatoeba.LANGUAGE-eng.LANGUAGE and tatoeba.LANGUAGE-eng.eng;"),
        ("pawsx", "train", None, r"no file called LANGUAGE/\*train.tsv, train-LANGUAGE.tsv;"),
    ],
)
def test_what_is_not_there_is_said_with_what_there_is(tmp_path, name, split, languages, message):
    path = publish(tmp_path, {"dev-de.tsv": PAIR, "dev-sw.tsv": PAIR})
    with pytest.raises(InputError, match=message):
        read_benchmark(name, path, split, languages)


def test_a_language_that_no_row_has(tmp_path):
    header = "language\tgold_label\tsentence1\tsentence2\n"
    path = publish(tmp_path, {"xnli.dev.tsv": f"{header}de\tneutral\ta\tb\n"})
    with pytest.raises(InputError, match="has no language 'sw'; there is de"):
        read_benchmark("xnli", path, "dev", ["sw"])


@pytest.mark.parametrize("other", ["copy/dev-de.tsv", "a/dev-de.tsv.gz"])
def test_two_files_of_one_name_are_not_chosen_between(tmp_path, other):
    path = publish(tmp_path, {"a/dev-de.tsv": PAIR, other: PAIR})
    with pytest.raises(InputError, match=r"has both .*dev-de.tsv.* and .*dev-de.tsv"):
        read_benchmark("xnli", path, "dev")


@pytest.mark.parametrize("name", ["olddev-de.tsv", "dev-de.tsv.bak", "dev-de-x.tsv", "dev-xx.tsv"])
def test_a_file_of_a_similar_name_is_not_read(tmp_path, name):
    with pytest.raises(InputError, match="no file called"):
        read_benchmark("xnli", publish(tmp_path, {name: PAIR}), "dev")


def test_a_pack_for_sw_is_tested_as_sw_everywhere(tmp_path):
    sib = {f"{code}/dev.tsv": TOPIC for code in ("swh_Latn", "zho_Hans", "zho_Hant")}
    splits = read_benchmark("sib200", publish(tmp_path, sib), "dev", ["sw", "zh", "zho_Hant"])
    assert {asked: split.language for asked, split in splits.items()} == {
        "sw": "swh_Latn",
        "zh": "zho_Hans",
        "zho_Hant": "zho_Hant",
    }
    tatoeba = {"tatoeba.swh-eng.swh": "x", "tatoeba.swh-eng.eng": "y"}
    splits = read_benchmark("tatoeba", publish(tmp_path, tatoeba), "test", ["sw"])
    assert splits["sw"].language == "swh"


def test_the_aliases_are_the_codes_of_the_other_benchmarks():
    assert set(ALIASES) == {code for entry in BENCHMARKS.values() for code in entry.languages}


def test_every_benchmark_says_what_it_is():
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.kind in ("classification", "tags", "span", "retrieval"), name
        assert benchmark.splits, name
        assert bool(benchmark.languages) != bool(benchmark.code), name
