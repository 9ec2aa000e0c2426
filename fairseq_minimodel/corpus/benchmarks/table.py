"""Which benchmarks there are, how their files are called and what reads them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ...kinds import CLASSIFICATION, RETRIEVAL, SPAN, TAGS
from ...kinds.questions import LANGUAGE_NAMES, read_questions
from ...kinds.rows import Reading
from ...kinds.tagged import COLUMNS, CONLLU, IOB2, WIKIANN, Parse, read_tagged
from .classification import Layout, read_labelled
from .retrieval import read_translations

# (files of one language, its code or None where the rows tell it, options) -> rows
Reader = Callable[..., Iterator[Reading]]


@dataclass(frozen=True)
class Form:
    """One of the forms in which a benchmark is published.

    Attributes:
        names: what the files of one language are called, as the ends of paths. In them `*` is
            anything but `/`, {split} a value of `splits`, {language} a code of the benchmark,
            {question} a second code, {name} a language in English.
        splits: each split, and how the names spell it.
        read: reads these files, in this order.
    """

    names: tuple[str, ...]
    splits: Mapping[str, str]
    read: Reader


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        kind: CLASSIFICATION (rows are `Example`), TAGS (`Sentence`), SPAN (`Question`) or RETRIEVAL
            (`Translation`).
        forms: the first of which there are files is read.
        languages: its codes; empty if there are too many to list.
        code: a regular expression for codes that are not listed.
    """

    kind: str
    forms: tuple[Form, ...]
    languages: tuple[str, ...] = ()
    code: str = ""

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(split for form in self.forms for split in form.splits))


def _same(*splits: str) -> dict[str, str]:
    """Splits that the names of files spell as they are called."""
    return {split: split for split in splits}


_TRAIN_DEV, _DEV_TEST = _same("train", "dev"), _same("dev", "test")
_TRAIN_DEV_TEST = _same("train", "dev", "test")
_SPLITS_OF_PAWSX = {"train": "*train", "dev": "dev_2k", "test": "test_2k"}
_TATOEBA = ("tatoeba.{language}-eng.{language}", "tatoeba.{language}-eng.eng")

_NLI = Layout(
    texts=("sentence1", "sentence2"),
    label="gold_label",
    labels=frozenset({"entailment", "neutral", "contradiction"}),
    no_label="-",
)
_PAWSX = Layout(
    texts=("sentence1", "sentence2"),
    label="label",
    labels=frozenset({"0", "1"}),
    no_text=frozenset({"NS", ""}),
)
_SIB = Layout(
    texts=("text",),
    label="category",
    labels=frozenset({"entertainment", "geography", "health", "politics", "science/technology"})
    | {"sports", "travel"},
    quoted=True,
)


def _labelled(name: str, splits: Mapping[str, str], layout: Layout, **changes: object) -> Form:
    return Form((name,), splits, partial(read_labelled, layout=replace(layout, **changes)))


def _xtreme(layout: Layout) -> Form:
    """XTREME (Hu et al. 2020) wrote the pairs again with a CSV writer, without a header."""
    columns = {"texts": (1, 2), "label": 3, "quoted": True}
    return _labelled("{split}-{language}.tsv", _TRAIN_DEV_TEST, layout, **columns)


def _nli(name: str, *splits: str) -> tuple[Form, Form]:
    return tuple(_labelled(f"{name}.{end}", _same(*splits), _NLI) for end in ("txt", "jsonl"))


def _span(name: str, splits: Mapping[str, str]) -> Form:
    return Form((name,), splits, read_questions)


# Nivre et al. 2020: the 17 universal parts of speech. Entities in IOB2, of types that differ.
_UPOS = re.compile("ADJ|ADP|ADV|AUX|CCONJ|DET|INTJ|NOUN|NUM|PART|PRON|PROPN|PUNCT|SCONJ|SYM|VERB|X")
_ENTITIES = re.compile(r"O|[BI]-\w+")


def _tagged(name: str, form: Parse, tags: re.Pattern[str], *more: str) -> Form:
    splits = _same("train", "dev", "test", *more)
    return Form((name,), splits, partial(read_tagged, form=form, tags=tags))


BENCHMARKS = {
    # Conneau et al. 2018: XNLI-1.0.zip, all languages in one file
    "xnli": Benchmark(
        CLASSIFICATION,
        (
            _labelled("xnli.{split}.tsv", _DEV_TEST, _NLI, language="language"),
            _labelled("xnli.{split}.jsonl", _DEV_TEST, _NLI, language="language"),
            _xtreme(_NLI),
        ),
        ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"),
    ),
    # Williams et al. 2018: multinli_1.0.zip
    "multinli": Benchmark(
        CLASSIFICATION,
        _nli("multinli_1.0_{split}", "train", "dev_matched", "dev_mismatched"),
        ("en",),
    ),
    # Bowman et al. 2015: snli_1.0.zip
    "snli": Benchmark(CLASSIFICATION, _nli("snli_1.0_{split}", *_TRAIN_DEV_TEST), ("en",)),
    # Kaushik et al. 2020: one of the folders below NLI/ in acmi-lab/counterfactually-augmented-data
    "snli-counterfactual": Benchmark(
        CLASSIFICATION, (_labelled("{split}.tsv", _TRAIN_DEV_TEST, _NLI, quoted=True),), ("en",)
    ),
    # Yang et al. 2019: x-final.tar.gz; translated_train.tsv, but English has train.tsv
    "pawsx": Benchmark(
        CLASSIFICATION,
        (_labelled("{language}/{split}.tsv", _SPLITS_OF_PAWSX, _PAWSX), _xtreme(_PAWSX)),
        ("de", "en", "es", "fr", "ja", "ko", "zh"),
    ),
    # Adelani et al. 2024: data/annotated/ in dadelani/sib-200; codes of FLORES-200
    "sib200": Benchmark(
        CLASSIFICATION,
        (_labelled("{language}/{split}.tsv", _TRAIN_DEV_TEST, _SIB),),
        code="[a-z]{3}_[A-Z][a-z]{3}",
    ),
    # Rajpurkar et al. 2016
    "squad": Benchmark(SPAN, (_span("{split}-v1.1.json", _TRAIN_DEV),), ("en",)),
    # Lewis et al. 2020: MLQA_V1.zip
    "mlqa": Benchmark(
        SPAN,
        (_span("{split}-context-{language}-question-{question}.json", _DEV_TEST),),
        ("ar", "de", "en", "es", "hi", "vi", "zh"),
    ),
    # Artetxe et al. 2020: google-deepmind/xquad
    "xquad": Benchmark(
        SPAN,
        (_span("xquad.{language}.json", {"test": ""}),),
        ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"),
    ),
    # Clark et al. 2020: all languages in one file; tydiqa-goldp-v1.1-dev.tgz; as XTREME splits it
    "tydiqa-goldp": Benchmark(
        SPAN,
        (
            _span("tydiqa-goldp-v1.1-{split}.json", _TRAIN_DEV),
            _span("tydiqa-goldp-{split}-{name}.json", _same("dev")),
            _span("tydiqa.goldp.{language}.{split}.json", _TRAIN_DEV),
        ),
        tuple(LANGUAGE_NAMES.values()),
    ),
    # Nivre et al. 2020: a treebank of Universal Dependencies; as XTREME joins them
    "udpos": Benchmark(
        TAGS,
        (
            _tagged("{language}_*-ud-{split}.conllu", CONLLU, _UPOS),
            _tagged("{split}-{language}.tsv", COLUMNS, _UPOS),
        ),
        code="[a-z]{2,3}",
    ),
    # Mayhew et al. 2024: UniversalNER/UNER_*
    "uner": Benchmark(
        TAGS, (_tagged("{language}_*-ud-{split}.iob2", IOB2, _ENTITIES),), code="[a-z]{2,3}"
    ),
    # Adelani et al. 2022: data/ in masakhane-io/masakhane-ner, 2.0; Dione et al. 2023: in masakhane-pos
    "masakhaner": Benchmark(
        TAGS,
        (
            _tagged("{language}/{split}.txt", COLUMNS, _ENTITIES),
            _tagged("{language}_masakhaner2-{split}.txt", COLUMNS, _ENTITIES),
        ),
        code="[a-z]{2,3}",
    ),
    "masakhapos": Benchmark(
        TAGS,
        (
            _tagged("{language}/{split}.txt", COLUMNS, _UPOS),
            _tagged("{language}_masakhane-{split}.txt", COLUMNS, _UPOS),
        ),
        code="[a-z]{2,3}",
    ),
    # Pan et al. 2017, as Rahimi et al. 2019 split it: LANGUAGE.tar.gz, each word with its language; as
    # XTREME writes it again
    "wikiann": Benchmark(
        TAGS,
        (
            _tagged("{language}/{split}", WIKIANN, _ENTITIES, "extra"),
            _tagged("{split}", WIKIANN, _ENTITIES, "extra"),
            _tagged("{split}-{language}.tsv", COLUMNS, _ENTITIES),
        ),
        code="[a-z]{2,3}(?:-[a-z-]+)?",
    ),
    # Artetxe & Schwenk 2019: data/tatoeba/v1/ in facebookresearch/LASER; codes of ISO 639-3
    "tatoeba": Benchmark(
        RETRIEVAL, (Form(_TATOEBA, {"test": ""}, read_translations),), code="[a-z]{3}"
    ),
}

# What SIB-200 and Tatoeba call the languages of the other benchmarks, so that what a pack for `sw`
# is to be tested on is asked for as `sw` everywhere.
_ALIASES = """
ar arb_Arab ara, bg bul_Cyrl bul, bn ben_Beng ben, de deu_Latn deu, el ell_Grek ell, en eng_Latn,
es spa_Latn spa, fi fin_Latn fin, fr fra_Latn fra, hi hin_Deva hin, id ind_Latn ind, ja jpn_Jpan jpn,
ko kor_Hang kor, ro ron_Latn ron, ru rus_Cyrl rus, sw swh_Latn swh swa, te tel_Telu tel,
th tha_Thai tha, tr tur_Latn tur, ur urd_Arab urd, vi vie_Latn vie, zh zho_Hans cmn
"""
ALIASES = {code: tuple(others) for code, *others in map(str.split, _ALIASES.split(","))}
