from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Optional

import pytest
import torch

from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.packs import start as rules
from fairseq_minimodel.packs.start import RULES, Pair, Rule, Run, check_settings, table_of_rules
from fairseq_minimodel.packs.start.clp import Clp
from fairseq_minimodel.packs.start.focus import Focus, sparsemax
from fairseq_minimodel.packs.start.vectors import TokenVectors
from fairseq_minimodel.vocabulary.scripts import script_of

# the special symbols stand at different rows, and <mask> last in both
SOURCE = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c", "<mask>"]
TARGET = ["<s>", "<pad>", "</s>", "<unk>", "c", "x", "a", *(f"y{i}" for i in range(2000)), "<mask>"]


@pytest.fixture
def source():
    generator = torch.Generator().manual_seed(0)
    return LanguageSide(
        torch.randn(len(SOURCE), 16, generator=generator),
        torch.randn(len(SOURCE), generator=generator),
    )


def start(rule, source, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return RULES[rule](Pair.of(source, SOURCE, TARGET), generator).start()


def start_with(rule, source, target, vectors, *weights, seed=1):
    """A rule that combines rows, from a source of the vocabulary BYTE_LEVEL."""
    generator = torch.Generator().manual_seed(seed)
    return rule(Pair.of(source, BYTE_LEVEL, target), generator, vectors, *weights).start()


def test_random_copies_the_special_symbols_alone_and_by_symbol(source):
    side, report = start("random", source)
    for symbol in ("<s>", "<pad>", "</s>", "<unk>", "<mask>"):
        here, there = TARGET.index(symbol), SOURCE.index(symbol)
        assert torch.equal(side.embedding[here], source.embedding[there])
        assert side.bias[here] == source.bias[there]
    drawn = side.embedding[4:-1]
    assert drawn.mean().item() == pytest.approx(0, abs=5e-4)
    assert drawn.std().item() == pytest.approx(0.02, rel=0.02)
    assert not side.bias[4:-1].any()
    assert (report.special, report.copied, report.drawn) == (5, 0, 2003)


def test_overlap_copies_rows_of_equal_strings_as_well(source):
    side, report = start("overlap", source)
    random, _ = start("random", source)
    for symbol in ("a", "c", "<mask>"):
        here, there = TARGET.index(symbol), SOURCE.index(symbol)
        assert torch.equal(side.embedding[here], source.embedding[there])
        assert side.bias[here] == source.bias[there]
    assert torch.equal(side.embedding[5], random.embedding[5])
    assert torch.equal(side.embedding[7:-1], random.embedding[7:-1])
    assert (report.special, report.copied, report.drawn) == (5, 2, 2001)


@pytest.mark.parametrize("rule", ["overlap", "mean", "clp", "focus"])
def test_of_a_language_with_two_tables_each_row_is_made_in_both_the_same_way(rule):
    """What becomes of the one table is what would become of it as the embedding of a tied model."""
    tables = [source_of(BYTE_LEVEL, seed=seed).embedding for seed in (3, 4)]
    vectors = {"clp": [helper_of(MARKED)], "focus": [helper_of(MARKED)]}

    def begin(source):
        generator = torch.Generator().manual_seed(1)
        pair = Pair.of(source, BYTE_LEVEL, MARKED)
        return RULES[rule](pair, generator, *vectors.get(rule, ())).start()

    side, report = begin(LanguageSide(tables[0], projection=tables[1]))
    assert side.bias is None and side.projection.shape == side.embedding.shape == (12, 6)
    rows = range(12)
    if report.drawn:
        assert rule == "overlap"
        copied = Pair.of(source_of(BYTE_LEVEL), BYTE_LEVEL, MARKED)
        rows = [*copied.special, *copied.common]
        assert 0 < side.projection[1:-1].std(1).min() < 0.1  # drawn, too
    for found, table in zip((side.embedding, side.projection), tables, strict=True):
        expected = begin(LanguageSide(table, torch.zeros(len(table))))[0].embedding
        torch.testing.assert_close(found[rows], expected[rows], rtol=0, atol=1e-6)
    assert not torch.equal(side.embedding, side.projection)


def test_random_draws_both_tables():
    tables = [source_of(SOURCE, width=16, seed=seed).embedding for seed in (3, 4)]
    side, report = start("random", LanguageSide(tables[0], projection=tables[1]))
    for found, table in zip((side.embedding, side.projection), tables, strict=True):
        assert torch.equal(found[TARGET.index("<mask>")], table[SOURCE.index("<mask>")])
        assert found[4:-1].std().item() == pytest.approx(0.02, rel=0.02)
    assert not torch.equal(side.embedding[4:-1], side.projection[4:-1])
    assert (report.special, report.drawn) == (5, 2003)


SCRIPTS = [
    "<s>", "<pad>", "</s>", "<unk>", *(f"▁l{n}" for n in range(40)), *(f"{n}," for n in range(20)),
    *(f"▁λ{n}" for n in range(12)), "▁да", "<mask>",
]  # fmt: skip


def test_script_draws_rows_as_the_source_has_them_in_their_script():
    target = [*SCRIPTS[:4], "▁l1"]
    for text in ("▁x{}e", "({})", "μή{}", "нет{}"):
        target += [text.format(n) for n in range(3000)]
    target.append("<mask>")
    generator = torch.Generator().manual_seed(0)
    # each script around another point, with another spread
    rows = torch.randn(len(SCRIPTS), 3, generator=generator)
    for place, (first, last) in enumerate([(4, 44), (44, 64), (64, 76), (76, 77)]):
        rows[first:last] = rows[first:last] * (place + 1) + 10 * place
    source = LanguageSide(rows[:, :2].clone(), rows[:, 2].clone())
    pair = Pair.of(source, SCRIPTS, target)
    side, report = RULES["script"](pair, torch.Generator().manual_seed(1)).start()
    assert torch.equal(side.embedding[4], source.embedding[5])  # of both vocabularies
    assert (report.special, report.copied, report.drawn) == (5, 1, 12_000)
    drawn = torch.cat([side.embedding, side.bias[:, None]], 1)[5:-1].view(4, 3000, 3)
    # Latin, no letters, Greek; one Cyrillic row says nothing, and those are as all
    for here, like in zip(drawn, (rows[4:44], rows[44:64], rows[64:76], rows[4:77]), strict=True):
        spread = like.std(0, correction=0)
        assert ((here.mean(0) - like.mean(0)).abs() < 0.1 * spread).all()
        torch.testing.assert_close(here.std(0), spread, rtol=0.06, atol=0)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("haus", "LATIN"), (" Ärger", "LATIN"), ("λόγος", "GREEK"), ("मैं", "DEVANAGARI"),
        ("漢字", "CJK"), ("ab да", "LATIN"), ("a да", "CYRILLIC"), (" 1,5", ""), ("", ""),
        ("\udce2", ""), ("e\u0301", "LATIN"),
    ],
)  # fmt: skip
def test_the_script_of_a_text_is_that_of_most_of_its_letters(text, script):
    assert script_of(text) == script


def test_the_seed_decides_what_is_drawn(source):
    assert torch.equal(start("random", source)[0].embedding, start("random", source)[0].embedding)
    other = start("random", source, seed=2)[0]
    assert not torch.equal(start("random", source)[0].embedding[5], other.embedding[5])


# Combining: "▁a", "b" and "c" are in both vocabularies; the source is a byte-level BPE.
BYTE_LEVEL = ["<s>", "<pad>", "</s>", "<unk>", "Ġa", "b", "Ġz", "c", "Ġin", "<mask>"]
MARKED = ["<s>", "<pad>", "</s>", "<unk>", "c", "▁x", "▁a", "▁y", "b", "▁z2", "in", "<mask>"]


def source_of(symbols, width=6, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return LanguageSide(
        torch.randn(len(symbols), width, generator=generator),
        torch.randn(len(symbols), generator=generator),
    )


def helper_of(symbols, seed=4, shift=1.0):
    generator = torch.Generator().manual_seed(seed)
    return TokenVectors(torch.randn(len(symbols), 5, generator=generator) + shift, symbols, "H")


def by_hand(token, helper, source):
    """Row and bias of `token` in MARKED by the rule of CLP-Transfer, in float64."""
    common = {"c": "c", "▁a": "Ġa", "b": "b"}
    vector = {s: v.double() for s, v in zip(helper.symbols, helper.vectors, strict=True)}
    row, bias, total = torch.zeros(source.width, dtype=torch.float64), 0.0, 0.0
    for here, there in common.items():
        weight = torch.cosine_similarity(vector[token], vector[here], dim=0).item()
        row += weight * source.embedding[BYTE_LEVEL.index(there)].double()
        bias += weight * source.bias[BYTE_LEVEL.index(there)].item()
        total += weight
    return row / total, bias / total


def test_clp_is_the_rule_of_the_paper_and_so_is_the_bias():
    source, helper = source_of(BYTE_LEVEL), helper_of(MARKED)
    side, report = start_with(Clp, source, MARKED, helper)
    for token in ("▁x", "▁y", "▁z2", "in"):
        row, bias = by_hand(token, helper, source)
        here = MARKED.index(token)
        torch.testing.assert_close(side.embedding[here].double(), row, atol=1e-5, rtol=1e-5)
        assert side.bias[here].item() == pytest.approx(bias, abs=1e-5)
    copies = {"<s>": "<s>", "<pad>": "<pad>", "</s>": "</s>", "<unk>": "<unk>", "<mask>": "<mask>"}
    for here, there in {**copies, "c": "c", "▁a": "Ġa", "b": "b"}.items():
        here, there = MARKED.index(here), BYTE_LEVEL.index(there)
        assert torch.equal(side.embedding[here], source.embedding[there])
        assert side.bias[here] == source.bias[there]
    assert (report.special, report.copied, report.combined, report.drawn) == (5, 3, 4, 0)


def test_the_order_of_the_helpers_rows_does_not_matter():
    source, helper = source_of(BYTE_LEVEL), helper_of(MARKED)
    order = torch.randperm(len(MARKED), generator=torch.Generator().manual_seed(0))
    shuffled = TokenVectors(helper.vectors[order], [MARKED[i] for i in order.tolist()], "H")
    # in another family's spelling
    spelled = ["Ġ" + s[1:] if s.startswith("▁") else s for s in shuffled.symbols]
    respelled = TokenVectors(shuffled.vectors, spelled, "H")
    sides = [
        start_with(Clp, source, MARKED, vectors)[0] for vectors in (helper, shuffled, respelled)
    ]
    torch.testing.assert_close(sides[0].embedding, sides[1].embedding)
    torch.testing.assert_close(sides[0].embedding, sides[2].embedding)


def test_what_has_no_mean_is_drawn_and_counted():
    """▁x has no vector, the weights of ▁y sum to less than 0; the other 1,000 are combined."""
    many = [f"▁n{index}" for index in range(1000)]
    target = [*MARKED, *many]
    source, helper = source_of(BYTE_LEVEL), helper_of(target)
    near = [target.index(token) for token in ("c", "▁a", "b")]
    helper.vectors[target.index("▁y")] = -helper.vectors[near].mean(0)
    kept = [row for row, symbol in enumerate(target) if symbol != "▁x"]
    helper = TokenVectors(helper.vectors[kept], [target[row] for row in kept], "H")
    side, report = start_with(Clp, source, target, helper)
    assert report.without_vector == 1
    assert report.cancelled >= 1
    assert report.combined + report.drawn == 1004
    assert report.drawn == report.without_vector + report.cancelled
    assert "rows drawn (1 without a vector, " in str(report)
    drawn = start_with(Clp, source, target, helper, seed=2)[0]
    changed = (side.embedding != drawn.embedding).any(1)
    assert changed[target.index("▁x")] and changed[target.index("▁y")]
    assert changed.sum() == report.drawn
    assert (side.bias != drawn.bias).sum() == report.drawn


def test_drawn_rows_have_mean_and_spread_of_the_source_in_every_dimension():
    source = LanguageSide(
        torch.tensor([[1.0, 10.0], [3.0, 10.5]]).repeat(5, 1), torch.tensor([0.0, -4.0]).repeat(5)
    )
    target = [*BYTE_LEVEL, *(f"Ġn{index}" for index in range(20000))]
    with_vectors = [*BYTE_LEVEL, *(f"Ġn{index}" for index in range(12000))]
    vectors = TokenVectors(torch.ones(len(with_vectors), 2), with_vectors, "H")
    side, report = start_with(Clp, source, target, vectors)
    assert (report.combined, report.drawn, report.without_vector) == (12000, 8000, 8000)
    drawn = torch.cat([side.embedding, side.bias.unsqueeze(1)], 1)[-8000:]
    assert drawn.mean(0).tolist() == pytest.approx([2.0, 10.25, -2.0], abs=0.07)
    assert drawn.std(0).tolist() == pytest.approx([1.0, 0.25, 2.0], rel=0.03)


def test_mean_gives_every_other_row_the_mean_of_all(source):
    side, report = start("mean", source)
    for row in (5, 7, 2000):
        torch.testing.assert_close(side.embedding[row], source.embedding.mean(0))
        torch.testing.assert_close(side.bias[row], source.bias.mean())
    assert torch.equal(side.embedding[6], source.embedding[4])
    assert (report.special, report.copied, report.combined, report.drawn) == (5, 2, 2001, 0)
    assert "2001 rows combined, 0 rows drawn" in str(report)


def test_overlap_sees_through_the_marks_of_tokenizers():
    source = source_of(BYTE_LEVEL)
    generator = torch.Generator().manual_seed(1)
    side, report = RULES["overlap"](Pair.of(source, BYTE_LEVEL, MARKED), generator).start()
    assert report.copied == 3
    assert torch.equal(side.embedding[MARKED.index("▁a")], source.embedding[4])
    assert str(report) == (
        "initialise overlap: 5 special symbols copied, 3 other rows copied, 4 rows drawn"
    )


def test_focus_takes_sparse_weights():
    source, helper = source_of(BYTE_LEVEL), helper_of(MARKED, shift=0.0)
    side, report = start_with(Focus, source, MARKED, helper)
    near = [MARKED.index(token) for token in ("c", "▁a", "b")]
    rows = source.embedding[[7, 4, 5]]
    for token in ("▁x", "▁y", "▁z2", "in"):
        here = MARKED.index(token)
        cosines = torch.cosine_similarity(helper.vectors[here], helper.vectors[near])
        torch.testing.assert_close(side.embedding[here], sparsemax(cosines[None])[0] @ rows)
    assert (report.copied, report.combined, report.drawn) == (3, 4, 0)


def test_focus_may_lack_most_vectors_but_a_helper_may_not():
    source, few = source_of(BYTE_LEVEL), helper_of(["▁x", "b", "c"])
    report = start_with(Focus, source, MARKED, few)[1]
    assert (report.combined, report.drawn, report.without_vector) == (1, 3, 3)
    with pytest.raises(InputError, match="H has 3 of the 7 tokens .* vocabulary of the target"):
        start_with(Clp, source, MARKED, few)


def test_nothing_in_common_is_refused():
    target = [*MARKED[:4], "▁q", "▁r", "<mask>"]
    with pytest.raises(InputError, match="has 0 tokens in common with the source"):
        start_with(Clp, source_of(BYTE_LEVEL), target, helper_of(target))


@pytest.mark.parametrize("rule", ["random", "overlap"])
def test_what_is_drawn_at_random_is_what_it_always_was(rule, source):
    """Seeds of earlier versions keep their meaning."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.empty(len(TARGET), 16).normal_(0.0, 0.02, generator=generator)
    assert torch.equal(start(rule, source)[0].embedding[7:-1], drawn[7:-1])


# The list of rules, and what comes from it


@dataclass
class FirstSettings:
    first_token: Optional[str] = field(default=None, metadata={"help": "a token of the source"})
    initialise_top_k: Optional[int] = field(default=None, metadata={"help": "so many"})


class First(Rule):
    """A rule that this package does not have: every row is that of one token."""

    name, other_rows, Settings = "first", "the row of one token", FirstSettings

    def __init__(self, pair, generator, row):
        super().__init__(pair, generator)
        self.row = row

    @classmethod
    def for_run(cls, pair, run):
        return cls(pair, run.generator, SOURCE.index(run.settings.first_token))

    def make_rows(self):
        return self.pair.rows[self.row].repeat(len(self.pair.symbols), 1)


def test_a_new_rule_is_a_class_and_an_entry(source, monkeypatch):
    monkeypatch.setitem(RULES, "first", First)
    monkeypatch.setattr(rules, "StartSettings", rules.make_settings())
    names = {one.name: one.metadata["help"] for one in fields(rules.StartSettings)}
    assert names["first_token"] == "for --initialise first: a token of the source"
    assert names["initialise_top_k"].startswith("for --initialise clp and first: ")
    assert "| `first` | copied | the row of one token | |" in table_of_rules()

    settings = rules.StartSettings(first_token="b", initialise_top_k=3)
    check_settings("first", settings)
    with pytest.raises(InputError, match="--first-token is for --initialise first, not for .* clp"):
        check_settings("clp", settings)

    run = Run(settings, torch.Generator(), text=None, readers=None)
    side, report = RULES["first"].for_run(Pair.of(source, SOURCE, TARGET), run).start()
    assert torch.equal(side.embedding[TARGET.index("x")], source.embedding[SOURCE.index("b")])
    assert (report.special, report.copied, report.drawn) == (5, 2, 2001)


@pytest.mark.parametrize("name", ["helper", "helper_dict", "initialise_top_k"])
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "clp"])
def test_settings_of_another_rule_are_refused(name, rule):
    check_settings(rule, rules.StartSettings())
    settings = rules.StartSettings(**{name: 3})
    check_settings("clp", settings)
    option = name.replace("_", "-")
    with pytest.raises(InputError, match=f"--{option} is for --initialise clp, not for .* {rule}"):
        check_settings(rule, settings)


def test_the_page_has_the_table_of_the_rules():
    page = Path(__file__).resolve().parents[3] / "docs/initialise.md"
    assert table_of_rules() in page.read_text(encoding="utf-8")
