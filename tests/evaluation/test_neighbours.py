import math

import pytest
import torch
from support.run_folder import write_pack

from fairseq_minimodel.bodies.language_side import LanguageSide
from fairseq_minimodel.evaluation.neighbours import align, is_word
from fairseq_minimodel.packs.pack import load_pack


def pack(folder, language, tokens, vectors):
    """A pack of tokens with their counts; special symbols point where no token does."""
    data = folder / f"data-{language}"
    data.mkdir()
    (data / "dict.txt").write_text(
        "".join(f"{token} {count}\n" for token, count in tokens), encoding="utf-8"
    )
    (data / "sentencepiece.bpe.model").write_bytes(b"")
    width = len(vectors[0])
    special = torch.full((4, width), -1.0)
    side = LanguageSide(
        torch.cat([special, torch.tensor(vectors), special[:1]]), torch.zeros(len(tokens) + 5)
    )
    write_pack(folder / language, language, data, 0, 1, side=side)
    return load_pack(folder / language)


@pytest.fixture
def source(tmp_path):
    tokens = [("▁house", 9), ("▁dog", 5), ("ing", 7), ("▁taxi", 3), ("▁a", 8)]
    vectors = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [2, 1, 0]]
    return pack(tmp_path, "en", tokens, vectors)


def test_neighbours_worked_out_by_hand(source, tmp_path):
    tokens = [("▁Hund", 2), ("▁Haus", 30), ("▁taxi", 50), ("▁a", 60), ("ing", 1), ("hund", 40)]
    vectors = [[0, 3.0, 1], [2, 1, 0], [0, 0, 2], [1, 0, 1], [1, 0, 2], [0, 9, 0]]
    result = align(pack(tmp_path, "de", tokens, vectors), source, words=20, neighbours=2)
    # the most frequent first; "taxi", "a" and "ing" are in both, "hund" begins no word; of the source
    # "ing" and "a" are not words, though "a" lies just where "Haus" does
    (first, near_house), (second, near_dog) = result.words.items()
    assert (first, second) == ("Haus", "Hund")
    assert [text for text, _ in near_house] == [" house", " taxi"]
    assert [cosine for _, cosine in near_house] == pytest.approx([2 / 5**0.5, 3 / 15**0.5])
    assert [text for text, _ in near_dog] == [" dog", " taxi"]
    # taxi points at ing; a (1, 0, 1) has 0.82 with taxi, 0.63 with a; ing (1, 0, 2) has 0.89 with ing
    assert (result.same, result.compared) == (1, 3)
    assert result.chance == 1 / 5


def test_shares_and_neighbours_equal_a_plain_double_loop(tmp_path):
    generator = torch.Generator().manual_seed(3)
    words = [f"▁wo{chr(97 + place)}" for place in range(20)]
    others = words[:8] + [f"▁so{chr(97 + place)}" for place in range(12)]
    numbers = [torch.randn(20, 4, generator=generator) for _ in range(2)]
    numbers[1][:8] = numbers[0][:8] + 0.5 * numbers[1][:8]  # near, but not all of them the nearest
    target, origin = (
        pack(
            tmp_path,
            name,
            [(token, 100 - place) for place, token in enumerate(tokens)],
            rows.tolist(),
        )
        for name, tokens, rows in zip(("xx", "en"), (words, others), numbers, strict=True)
    )

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    table = [[cosine(row, other) for other in numbers[1].tolist()] for row in numbers[0].tolist()]
    same = sum(max(range(20), key=row.__getitem__) == place for place, row in enumerate(table[:8]))
    result = align(target, origin, words=5, neighbours=3, most_compared=8)
    assert 0 < same < 8
    assert (result.same, result.compared, result.chance) == (same, 8, 1 / 20)
    for place, (word, near) in enumerate(result.words.items(), start=8):
        assert f"▁{word}" == words[place]
        best = sorted(range(20), key=lambda other: -table[place][other])[:3]
        assert [f"▁{text.strip()}" for text, _ in near] == [others[other] for other in best]
        assert [cosine for _, cosine in near] == pytest.approx(
            [table[place][other] for other in best]
        )
    assert len(result.words) == 5
    assert align(target, origin, most_compared=3).compared == 3


def test_languages_without_a_token_in_common(source, tmp_path):
    result = align(pack(tmp_path, "el", [("▁σπίτι", 1)], [[1.0, 0, 0]]), source)
    assert list(result.words) == ["σπίτι"]
    assert (result.same, result.compared) == (0, 0)


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        (" house", True),
        (" घर", True),
        ("house", False),
        (" h", False),
        (" 12", False),
        (" --", False),
    ],
)
def test_words_are_letters_after_a_space(text, yes):
    assert is_word(text) is yes
