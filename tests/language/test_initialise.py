import pytest
import torch

from fairseq_minimodel.language.initialise import initialise
from fairseq_minimodel.language.side import LanguageSide

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
    return initialise(rule, source, SOURCE, TARGET, generator)


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


def test_the_seed_decides_what_is_drawn(source):
    assert torch.equal(start("random", source)[0].embedding, start("random", source)[0].embedding)
    other = start("random", source, seed=2)[0]
    assert not torch.equal(start("random", source)[0].embedding[5], other.embedding[5])


def test_an_unknown_rule_is_an_error(source):
    with pytest.raises(ValueError, match="no initialiser"):
        start("clever", source)
