"""The sections about languages: tokenizers, and nearest neighbours across languages."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..errors import InputError
from ..packs.pack import load_pack
from ..terminal.progress import SHORT, Progress
from .alignment import Alignment, Neighbour, align
from .blocks import Block, Cell, Folded, Section, Table, in_order, shown
from .gather import Data, Label, Pack, Run
from .tokenizer_statistics import TokenizerStatistics, symbols_in, tokenizer_statistics

_WORDS, _NEIGHBOURS = 20, 2


def source_language(runs: Sequence[Run], given: str | None) -> str | None:
    """The language of pretraining: the given one, or that of ordinary masked LM in the logs.

    Raises:
        InputError: nothing in the runs is in the given language.
    """
    languages = {one.language for run in runs for one in (*run.packs, *run.data, *run.results)}
    if given is not None:
        if given not in languages:
            raise InputError(
                f"--source {given}: the runs have nothing in that language; there is "
                f"{', '.join(sorted(languages)) or 'no language'}"
            )
        return given
    for training in (training for run in runs for training in run.trainings):
        if training.task == "masked_lm" and training.language in languages:
            return training.language
    return None


def in_language_order(languages: Iterable[str], source: str | None) -> list[str]:
    """Languages once each, the source first."""
    return sorted(set(languages), key=lambda language: (language != source, language))


# ---- tokenizers


def tokenizer_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """How each language's tokenizer cuts its text; None without data and packs."""
    found: dict[tuple[str, str], Data | Pack] = {}
    for run in runs:
        for one in (*run.data, *run.packs):
            found.setdefault((run.name, one.language), one)
    if not found:
        return None
    rows: dict[TokenizerStatistics, list[str]] = defaultdict(list)
    for (name, language), one in found.items():
        origin = found.get((name, source)) if language != source else None
        record = one.record if isinstance(one, Data) else None
        symbols = symbols_in(origin.folder) if origin else None
        rows[tokenizer_statistics(language, one.folder, record, symbols)].append(name)
    order = in_language_order([one.language for one in rows], source)
    several = len({tuple(names) for names in rows.values()}) > 1
    shared = [f"also in {source}", "share of the text"] if source else []
    note = (
        "Tokens per word (fertility), characters per token and unknown tokens: of the validation "
        "text, words as spaces divide it, spaces counted as characters."
    )
    if source:
        note += (
            f" Also in {source}: tokens of the vocabulary that the vocabulary of {source} has, too, by "
            "their text, and how much of the validation text they make up."
        )
    table = Table(
        "Vocabularies and how they cut text",
        ["", "vocabulary", "tokens per word", "characters per token", "unknown, validation",
         "unknown, training", "tokens, training", *shared],
        [
            [Cell(one.language, ", ".join(names) if several else ""), *_cells(one, bool(source))]
            for one, names in sorted(rows.items(), key=lambda item: order.index(item[0].language))
        ],
        note=note,
    )  # fmt: skip
    return Section("tokenizers", "Tokenizers", [table])


def _cells(one: TokenizerStatistics, with_shared: bool) -> list[Cell | str]:
    text = one.validation if one.validation and one.validation.tokens else None
    cells = [
        f"{one.vocabulary:,}",
        f"{text.fertility:.2f}" if text and text.fertility else "",
        f"{text.characters_per_token:.2f}" if text else "",
        _share(text.unknown / text.tokens, 3) if text else "",
        "" if one.training_unknown is None else _share(one.training_unknown, 3),
        "" if one.training_tokens is None else f"{one.training_tokens:,}",
    ]
    if not with_shared:
        return cells
    if one.shared is None:
        return [*cells, "", ""]
    return [
        *cells,
        Cell(f"{one.shared:,}", _share(one.shared / one.vocabulary, 1)),
        _share(text.shared / text.tokens, 1) if text else "",
    ]


def _share(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %" if share else "0 %"


# ---- neighbours


def alignment_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """Nearest neighbours between the languages' packs and the source's; None without such packs."""
    chosen: dict[tuple[str, Label], tuple[Pack, Pack]] = {}
    for run in runs:
        for pack, origin in _pairs(run, source):
            chosen.setdefault((pack.language, pack.label), (pack, origin))
    if not chosen:
        return None
    found: dict[str, dict[Label, Alignment]] = defaultdict(dict)
    with Progress("neighbours", len(chosen), "pack", after=SHORT) as progress:
        for (language, label), (pack, origin) in sorted(chosen.items(), key=lambda one: one[0][0]):
            packs = (load_pack(pack.folder), load_pack(origin.folder))
            found[language][label] = align(*packs, _WORDS, _NEIGHBOURS)
            progress.update(1)
    seeds = {pack.seed for pack, _ in chosen.values()}
    several = any(pack.seed not in seeds for run in runs for pack in run.packs)
    of_seed = f" (seed {', '.join(sorted(seeds))})" if several else ""
    tables: list[Block] = [
        Folded(language, [_word_table(language, by_label, source)], place == 0)
        for place, (language, by_label) in enumerate(found.items())
        if any(alignment.words for alignment in by_label.values())
    ]
    return Section(
        "neighbours",
        "Nearest neighbours",
        [_share_table(found, source), *tables],
        f"By the cosine of token embeddings in the packs{of_seed}.",
    )


def _pairs(run: Run, source: str | None) -> list[tuple[Pack, Pack]]:
    """Of each label and language the first seed's longest trained pack, with the source's pack."""
    chosen: dict[tuple[Label, str], Pack] = {}
    for pack in sorted(run.packs, key=lambda pack: (pack.seed, -(pack.description.updates or 0))):
        chosen.setdefault((pack.label, pack.language), pack)
    origins = [pack for pack in chosen.values() if pack.language == source]
    pairs = []
    for pack in chosen.values():
        kind = (pack.description.width, pack.description.lineage)
        fitting = [
            one for one in origins if (one.description.width, one.description.lineage) == kind
        ]
        if pack.language != source and fitting:
            pairs.append((pack, min(fitting, key=lambda one: one.label != pack.label)))
    return pairs


def _share_table(by_language: dict[str, dict[Label, Alignment]], source: str | None) -> Table:
    labels = in_order(label for found in by_language.values() for label in found)
    rows = []
    for language, found in by_language.items():
        first = next(iter(found.values()))
        cells = [_same_cell(found[label]) if label in found else "" for label in labels]
        rows.append([language, f"{first.compared:,}", *cells, _share(first.chance, 2)])
    return Table(
        f"Tokens written alike whose nearest neighbour in {source} is the same token",
        ["", "looked at", *map(shown, labels), "chance"],
        rows,
        note="The most frequent tokens that both vocabularies have, among all tokens of the source. "
        "With the start “overlap” they begin as copies: read them beside the untrained control.",
    )


def _same_cell(alignment: Alignment) -> str:
    return _share(alignment.same / alignment.compared, 1) if alignment.compared else ""


def _word_table(language: str, found: dict[Label, Alignment], source: str | None) -> Table:
    labels = in_order(found)
    by_label = {label: dict(found[label].words) for label in labels}
    words = list(dict.fromkeys(word for label in labels for word in by_label[label]))
    return Table(
        f"The {len(words)} most frequent words of {language} that {source} does not have, and their "
        f"nearest words in {source}",
        ["", *(shown(label) or "nearest" for label in labels)],
        [
            [word, *(_neighbour_cell(by_label[label].get(word, [])) for label in labels)]
            for word in words
        ],
        words=True,
    )


def _neighbour_cell(neighbours: Sequence[Neighbour]) -> Cell:
    return Cell(
        ", ".join(neighbour.text.strip() for neighbour in neighbours),
        ", ".join(f"{neighbour.cosine:.2f}" for neighbour in neighbours),
    )
