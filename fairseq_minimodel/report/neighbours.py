"""The section of nearest neighbours across languages (evaluation/neighbours.py)."""

from collections import defaultdict
from collections.abc import Sequence

from ..evaluation.neighbours import Alignment, align
from ..packs.pack import load_pack
from ..terminal.progress import SHORT, Progress
from .blocks import Cell, Folded, Section, Table, in_order, share, shown
from .gather import Item, Label, Run


def neighbour_section(runs: Sequence[Run], source: str | None) -> Section | None:
    """Nearest neighbours between the languages' packs and the source's; None without such packs."""
    chosen: dict[tuple[str, Label], tuple[Run, Item, Item]] = {}
    for run in runs:
        for pack, origin in _pairs(run, source):
            chosen.setdefault((pack.language, pack.label), (run, pack, origin))
    if not chosen:
        return None
    found: dict[str, dict[Label, Alignment]] = defaultdict(dict)
    with Progress("neighbours", len(chosen), "pack", after=SHORT) as progress:
        for (language, label), (run, *pair) in sorted(chosen.items(), key=lambda one: one[0][0]):
            found[language][label] = align(*(load_pack(run.folder / one.place) for one in pair))
            progress.update(1)
    tables = [
        Folded(language, [_word_table(language, by_label, source)], place == 0)
        for place, (language, by_label) in enumerate(found.items())
        if any(alignment.words for alignment in by_label.values())
    ]
    text = "By the cosine of token embeddings in the packs; of several seeds, the first."
    return Section("neighbours", "Nearest neighbours", [_share_table(found, source), *tables], text)


def _pairs(run: Run, source: str | None) -> list[tuple[Item, Item]]:
    """Of each label and language the first seed's longest trained pack, with the source's pack."""
    chosen: dict[tuple[Label, str], Item] = {}
    for pack in sorted(run.packs, key=lambda pack: (pack.seed, -(pack.cost.updates or 0))):
        chosen.setdefault((pack.label, pack.language), pack)
    pairs = []
    for pack in chosen.values():
        about = source, pack.content.width, pack.content.lineage
        fitting = [
            one
            for one in chosen.values()
            if (one.language, one.content.width, one.content.lineage) == about
        ]
        if fitting and pack.language != source:
            pairs.append((pack, min(fitting, key=lambda one: one.label != pack.label)))
    return pairs


def _share_table(by_language: dict[str, dict[Label, Alignment]], source: str | None) -> Table:
    labels = in_order(label for found in by_language.values() for label in found)
    rows = []
    for language, found in by_language.items():
        cells = [
            share(one.same / one.compared, 1) if (one := found.get(label)) and one.compared else ""
            for label in labels
        ]
        first = next(iter(found.values()))
        rows.append([language, f"{first.compared:,}", *cells, share(first.chance, 2)])
    return Table(
        f"Tokens written alike whose nearest neighbour in {source} is the same token",
        ["", "looked at", *map(shown, labels), "chance"],
        rows,
        "The most frequent tokens that both vocabularies have, among all tokens of the source. "
        "With the start “overlap” they begin as copies: read them beside the untrained control.",
    )


def _word_table(language: str, found: dict[Label, Alignment], source: str | None) -> Table:
    labels = in_order(found)
    words = list(dict.fromkeys(word for label in labels for word in found[label].words))

    def cell(label: Label, word: str) -> Cell:
        near = found[label].words.get(word, [])
        cosines = ", ".join(f"{cosine:.2f}" for _, cosine in near)
        return ", ".join(text.strip() for text, _ in near), cosines

    return Table(
        f"The {len(words)} most frequent words of {language} that {source} does not have, and their "
        f"nearest words in {source}",
        ["", *(shown(label) or "nearest" for label in labels)],
        [[word, *(cell(label, word) for label in labels)] for word in words],
        words=True,
    )
