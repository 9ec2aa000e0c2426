"""Without labels: how well a body predicts masked tokens in the language of a pack."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.family import HEAD
from ..bodies.surgery import truncate
from ..errors import InputError
from ..files.atomic import write_json
from ..files.formats import refuse_structure
from ..files.outputs import check_file, json_form
from ..files.rows import json_text
from ..files.text import (
    LONGEST_JSON_LINE,
    LONGEST_LINE,
    TextFile,
    decode,
)
from ..inference.batches import in_batches
from ..inference.build import build_model, ready_device
from ..packs.pack import LanguagePack, load_pack
from ..packs.plug import plug
from ..packs.trained_language import unfit_packs
from ..tasks.masked_blocks import Masking
from ..terminal.table import format_table
from ..vocabulary.tokenizers import BOS, EOS, MASK_SYMBOL, SPECIAL_SYMBOLS, UNK, Vocabulary
from .options import PerplexityOptions

SCORES = json_form("a file of perplexities", "language", "pack", "perplexity")
LARGEST_TEXT = 100_000_000  # bytes


@dataclass(frozen=True)
class PerplexityScore:
    """How well one body predicts the masked tokens of one text.

    Attributes:
        language, pack, data: which language, by which pack, on which file.
        depth: layers of the body below the MLM head.
        lines, characters, tokens: of the text; tokens without <s> and </s>.
        unknown: share of the tokens that is <unk>, which is easily predicted and says little.
        masked: tokens predicted.
        bits, low, high: mean cross-entropy of a masked token, and its 95 % interval over lines.
        perplexity: 2 to the power of `bits`.
        bits_per_character: `bits` times `tokens` over `characters`.
    """

    language: str
    pack: str
    data: str
    depth: int
    lines: int
    characters: int
    tokens: int
    unknown: float
    masked: int
    bits: float
    low: float
    high: float
    perplexity: float
    perplexity_low: float
    perplexity_high: float
    bits_per_character: float
    bits_per_character_low: float
    bits_per_character_high: float


@dataclass(frozen=True)
class MaskedSequence:
    """A sequence of tokens between <s> and </s>, some of them masked.

    Attributes:
        line: of the text, from 0.
        tokens: ids as the model sees them, (length,).
        predicted: (length,), true where a token is to be predicted.
        targets: ids of these tokens, in order.
    """

    line: int
    tokens: numpy.ndarray
    predicted: numpy.ndarray
    targets: numpy.ndarray


def perplexity(
    body: str | Path,
    tests: Sequence[tuple[str | Path, str | Path]],
    depth: int | None = None,
    seed: int = PerplexityOptions.seed,
    max_tokens: int = PerplexityOptions.max_tokens,
    device: str | None = None,
    output: str | Path | None = None,
    field: str = PerplexityOptions.field,
) -> list[PerplexityScore]:
    """MLM loss and perplexity of a body in the language of each pack; print a table.

    The arguments are those of `PerplexityOptions`. The masks depend on the seed, and on nothing else
    but a line's number and its tokens.

    Raises:
        InputError: `output` holds something else, the body has no such head, a pack does not fit it,
            the seed is negative, the device cannot be used, or a text cannot be read or is too short.
    """
    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    if output:
        check_file(output, SCORES, body, *(text for _, text in tests))
    device = ready_device(device)
    checkpoint = read_checkpoint(body)
    if depth is not None:
        checkpoint, _ = truncate(checkpoint, depth)
    if f"{HEAD}dense.weight" not in checkpoint.state:
        raise InputError(
            f"{body} has no MLM head: give a body that was pretrained by masked language modelling"
        )
    packs = [load_pack(pack) for pack, _ in tests]
    for pack in packs:
        plug(checkpoint, pack)  # what does not fit is refused before the work begins
    unfit_packs(checkpoint, packs)
    scores = [
        _score(checkpoint, pack, Path(text), field, seed, max_tokens, device)
        for pack, (_, text) in zip(packs, tests, strict=True)
    ]
    print(score_table(scores))
    if output:
        write_json(output, [asdict(score) for score in scores], SCORES)
    return scores


def score_table(scores: Sequence[PerplexityScore]) -> str:
    """The scores as a Markdown table, bits with their 95 % intervals."""
    return format_table(
        ["language", "pack", "layers", "masked tokens", "bits a masked token", "perplexity",
         "bits a character", "unknown (%)"],
        [
            [score.language, score.pack, score.depth, score.masked,
             f"{score.bits:.3f} ({score.low:.3f} to {score.high:.3f})", f"{score.perplexity:.4g}",
             f"{score.bits_per_character:.3f} ({score.bits_per_character_low:.3f} to "
             f"{score.bits_per_character_high:.3f})", f"{100 * score.unknown:.1f}"]
            for score in scores
        ],
    )  # fmt: skip


def read_lines(path: str | Path, field: str = "text") -> list[str]:
    """The lines of a text file, or the texts of JSON Lines, without blank ones.

    Args:
        path: of the file, which may be compressed.
        field: JSON Lines: the key that holds the text.

    Raises:
        InputError: the file is missing, damaged or not UTF-8, holds no text but a table or markup,
            or has fewer than two lines of text or more than `LARGEST_TEXT`.
    """
    texts, size = [], 0
    with TextFile(path) as file:
        json_lines = file.is_json_lines
        if not json_lines:
            refuse_structure(file.head, path)
        longest = LONGEST_JSON_LINE if json_lines else LONGEST_LINE
        for number, line in file.lines(longest, cut=not json_lines):
            if line.isspace():
                continue
            text = (
                json_text(line, field, path, number) if json_lines else decode(line, path, number)
            )
            texts.append(" ".join(text.split("\n")).strip())
            size += len(line)
            if size > LARGEST_TEXT:
                raise InputError(
                    f"{path} has more than {LARGEST_TEXT // 1_000_000} MB of text, which are held in "
                    "memory; give a part of it, for example the first lines (head -n 10000)."
                )
    texts = [text for text in texts if text]
    if len(texts) < 2:
        raise InputError(
            f"{path} has {len(texts)} lines of text; give a file with one sentence or document a "
            "line, two or more, to tell how much they differ."
        )
    return texts


def mask_lines(
    lines: Sequence[numpy.ndarray], masking: Masking, longest: int, seed: int
) -> list[MaskedSequence]:
    """Mask lines of token ids; what is longer than the body has positions becomes several sequences.

    <s> and </s> are put around each sequence and, other than in training, never masked: to predict
    them is no knowledge of a language.

    Args:
        longest: the body's positions.
        seed: of the masks; each line has its own random numbers.
    """
    sequences = []
    for number, ids in enumerate(lines):
        generator = numpy.random.default_rng([seed, number])
        for start in range(0, len(ids), longest - 2):
            part = ids[start : start + longest - 2]
            masked, predicted = masking(part[None], numpy.array([len(part)]), generator)
            tokens = numpy.concatenate([[BOS], masked[0], [EOS]])
            framed = numpy.concatenate([[False], predicted[0], [False]])
            sequences.append(MaskedSequence(number, tokens, framed, part[predicted[0]]))
    return sequences


def masked_bits(
    model: nn.Module, sequences: Sequence[MaskedSequence], max_tokens: int, device: str
) -> list[numpy.ndarray]:
    """Cross-entropy in bits of each predicted token of each sequence."""

    def losses(tokens: Tensor, batch: list[int]) -> list[numpy.ndarray]:
        items = [sequences[index] for index in batch]
        predicted = nn.utils.rnn.pad_sequence(
            [torch.from_numpy(item.predicted) for item in items], batch_first=True
        )
        targets = torch.from_numpy(numpy.concatenate([item.targets for item in items]))
        logits, _ = model(tokens, masked_tokens=predicted.to(device))
        nats = functional.cross_entropy(logits.float(), targets.to(device), reduction="none")
        bits = nats.double().cpu().numpy() / numpy.log(2)
        ends = numpy.cumsum([len(item.targets) for item in items])
        return numpy.split(bits, ends[:-1])

    tokens = [item.tokens for item in sequences]
    return in_batches(tokens, max_tokens, device, losses, "sequence")


def ratio_interval(sums: numpy.ndarray, counts: numpy.ndarray) -> tuple[float, float, float]:
    """A mean over tokens, and its 95 % interval over lines.

    The mean is a ratio of two sums over lines; its variance is that of the ratio estimator, linearised
    (Cochran 1977, Sampling Techniques, section 2.11), and the interval the normal one.

    Args:
        sums: of the values in each line, (lines,), of two lines or more.
        counts: of the values in each line, (lines,).

    Returns: the mean and the bounds.
    """
    mean, lines = sums.sum() / counts.sum(), len(sums)
    residuals = sums - mean * counts
    variance = (residuals**2).sum() / (lines - 1) / lines / counts.mean() ** 2
    half = stats.norm.ppf(0.975) * variance**0.5
    return float(mean), float(mean - half), float(mean + half)


def _score(
    body: Checkpoint,
    pack: LanguagePack,
    path: Path,
    field: str,
    seed: int,
    max_tokens: int,
    device: str,
) -> PerplexityScore:
    texts = read_lines(path, field)
    lines = Vocabulary(pack.tokenizer, pack.dictionary).encode_batch(texts)
    masking = Masking(
        mask=pack.symbols.index(MASK_SYMBOL),
        random_from=len(SPECIAL_SYMBOLS),
        random_to=len(pack.symbols),
    )
    sequences = mask_lines(lines, masking, body.body_settings()["max_positions"], seed)
    masked = sum(len(item.targets) for item in sequences)
    if not masked:
        raise InputError(f"{path} is too short: none of its tokens is masked; give more text.")
    model = build_model(plug(body, pack)[0], pack.symbols, device)
    sums, counts = numpy.zeros(len(texts)), numpy.zeros(len(texts))
    bits = masked_bits(model, sequences, max_tokens, device)
    for item, values in zip(sequences, bits, strict=True):
        sums[item.line] += values.sum()
        counts[item.line] += len(values)
    tokens, characters = sum(map(len, lines)), sum(map(len, texts))
    mean, low, high = ratio_interval(sums, counts)
    return PerplexityScore(
        language=pack.description.language,
        pack=str(pack.folder),
        data=str(path),
        depth=body.layers,
        lines=len(texts),
        characters=characters,
        tokens=tokens,
        unknown=sum(int((ids == UNK).sum()) for ids in lines) / tokens,
        masked=masked,
        bits=mean,
        low=low,
        high=high,
        perplexity=2**mean,
        perplexity_low=2**low,
        perplexity_high=2**high,
        bits_per_character=mean * tokens / characters,
        bits_per_character_low=low * tokens / characters,
        bits_per_character_high=high * tokens / characters,
    )
