"""Masked words: how well a body predicts tokens that are masked, and what it fills masks with."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from ..vocabulary.tokenizers import BOS, EOS, MASK_SYMBOL, SPECIAL_SYMBOLS, UNK, Vocabulary
from . import MASKED
from .batches import Batches
from .kind import Body, Kind, Metric, Row, Speaker, TextError, share
from .masking import Masking

MOST_LOGITS = 1 << 25  # computed at a time; a vocabulary may have 250,000 symbols
DIGITS = 6  # of probabilities in JSON, behind the point
HEAD = "encoder.lm_head"
PACK = "fairseq-minimodel pack --checkpoint {} --language LANGUAGE --output packs/LANGUAGE"


@dataclass(frozen=True)
class MaskedBits:
    """How well one body predicts the masked tokens of one text.

    Attributes:
        lines, characters, tokens: of the text; tokens without <s> and </s>.
        unknown: share of the tokens that is <unk>, which is easily predicted and says little.
        masked: tokens predicted.
        bits, low, high: mean cross-entropy of a masked token, and its 95 % interval over lines.
        perplexity: 2 to the power of `bits`.
        bits_per_character: `bits` times `tokens` over `characters`.
    """

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


class Token(NamedTuple):
    """A token, as its dictionary spells it, and its probability."""

    token: str
    probability: float


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


class MaskedWords:
    """The last MLM head of a body.

    Args:
        name: of the body.
        body: with the head.
        seed: of the masks. They depend on nothing else but a line's number and its tokens.

    Raises:
        InputError: the body has no such head.
    """

    def __init__(self, name: str, body: Body, seed: int = 1) -> None:
        if not KIND.has_head(body.state, {}):
            raise InputError(
                f"{name} has no MLM head: give a body that was pretrained by masked language modelling"
            )
        self.longest, self.seed = body.body_settings()["max_positions"], seed

    def score(self, speaker: Speaker, texts: Sequence[str], data: str) -> MaskedBits:
        """Bits per masked token of lines of text, which come from `data`.

        Raises:
            InputError: none of the tokens is masked.
        """
        lines = speaker.vocabulary.encode_batch(texts)
        masking = Masking(
            mask=speaker.symbols.index(MASK_SYMBOL),
            random_from=len(SPECIAL_SYMBOLS),
            random_to=len(speaker.symbols),
        )
        sequences = mask_lines(lines, masking, self.longest, self.seed)
        masked = sum(len(item.targets) for item in sequences)
        if not masked:
            raise InputError(f"{data} is too short: none of its tokens is masked; give more text.")
        sums, counts = numpy.zeros(len(texts)), numpy.zeros(len(texts))
        bits = masked_bits(speaker.model, sequences, speaker.batches)
        for item, values in zip(sequences, bits, strict=True):
            sums[item.line] += values.sum()
            counts[item.line] += len(values)
        tokens, characters = sum(map(len, lines)), sum(map(len, texts))
        mean, low, high = ratio_interval(sums, counts)
        return MaskedBits(
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


def mask_lines(
    lines: Sequence[numpy.ndarray], masking: Masking, longest: int, seed: int
) -> list[MaskedSequence]:
    """Mask lines of token ids; what is longer than the body has positions becomes several sequences.

    <s> and </s> are put around each sequence and, other than in training, never masked: to predict
    them is not knowledge of a language.

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
    model: nn.Module, sequences: Sequence[MaskedSequence], batches: Batches
) -> list[numpy.ndarray]:
    """Cross-entropy in bits of each predicted token of each sequence."""

    def losses(tokens: Tensor, batch: list[int]) -> list[numpy.ndarray]:
        items = [sequences[index] for index in batch]
        predicted = nn.utils.rnn.pad_sequence(
            [torch.from_numpy(item.predicted) for item in items], batch_first=True
        )
        targets = torch.from_numpy(numpy.concatenate([item.targets for item in items]))
        logits, _ = model(tokens, masked_tokens=predicted.to(tokens.device))
        nats = functional.cross_entropy(logits.float(), targets.to(tokens.device), reduction="none")
        bits = nats.double().cpu().numpy() / numpy.log(2)
        ends = numpy.cumsum([len(item.targets) for item in items])
        return numpy.split(bits, ends[:-1])

    tokens = [item.tokens for item in sequences]
    return batches.compute(tokens, losses, "sequence")


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
    half = NormalDist().inv_cdf(0.975) * variance**0.5
    return float(mean), float(mean - half), float(mean + half)


def fill_masks(
    speaker: Speaker, texts: Sequence[str], top: int, longest: int
) -> list[list[list[Token]]]:
    """The most probable tokens for each <mask> in each text, the most probable first.

    Args:
        longest: positions of the body.

    Raises:
        TextError: a text has no <mask>, or more tokens than the body has positions.
    """
    model, symbols = speaker.model, speaker.symbols
    mask = symbols.index(MASK_SYMBOL)
    sequences = list(_masked_sequences(texts, speaker.vocabulary, mask, longest))

    def most_probable(tokens: Tensor, _: list[int]) -> Iterable[tuple[Tensor, Tensor]]:
        masked = tokens == mask
        features = model(tokens, features_only=True)[0][masked]
        parts = [
            model.encoder.lm_head(part).float().softmax(dim=-1).topk(top)
            for part in features.split(max(1, MOST_LOGITS // len(symbols)))
        ]
        counts = masked.sum(dim=1).tolist()
        values, ids = (torch.cat(side).cpu().split(counts) for side in zip(*parts, strict=True))
        return zip(values, ids, strict=True)

    return [
        [
            [Token(symbols[index], value) for value, index in zip(*rows, strict=True)]
            for rows in zip(values.tolist(), ids.tolist(), strict=True)
        ]
        for values, ids in speaker.batches.compute(sequences, most_probable, "text")
    ]


def _masked_sequences(
    texts: Sequence[str], vocabulary: Vocabulary, mask: int, longest: int
) -> Iterator[numpy.ndarray]:
    """The texts between <s> and </s>, with the id `mask` in the place of each <mask>."""
    parts = [text.split(MASK_SYMBOL) for text in texts]
    for index, between in enumerate(parts):
        if len(between) == 1:
            raise TextError(index, f"has no {MASK_SYMBOL}: write it where a token is wanted")
    pieces = [part.rstrip() for between in parts for part in between]
    encoded = iter(vocabulary.encode_batch(pieces) if pieces else [])
    for index, between in enumerate(parts):
        ids = [BOS, *next(encoded)]
        for _ in between[1:]:
            ids += [mask, *next(encoded)]
        ids.append(EOS)
        if len(ids) > longest:
            raise TextError(
                index,
                f"has {len(ids)} tokens with <s> and </s>, and the body {longest} positions: "
                "shorten it",
            )
        yield numpy.array(ids, numpy.int64)


def _ask(model: Any, texts: Sequence[Sequence[str]], **options: int) -> list[object]:
    """Tokens for each mask in each text; options of `LanguageModel.fill_mask`."""
    return [
        [
            [{"token": one.token, "probability": round(one.probability, DIGITS)} for one in tokens]
            for tokens in masks
        ]
        for masks in model.fill_mask([text for (text,) in texts], **options)
    ]


def _with_interval(row: Row, *keys: str) -> str:
    value, low, high = (row[key] for key in keys)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


BITS = ("bits", "low", "high")
BITS_PER_CHARACTER = tuple(f"bits_per_character{end}" for end in ("", "_low", "_high"))
PERPLEXITY = ("perplexity", "perplexity_low", "perplexity_high")

KIND = Kind(
    name=MASKED,
    tasks={
        "masked_lm": PACK,
        "language_adaptation": PACK,
        "meta_masked_lm": "",
        "multilingual_masked_lm": "",
    },
    head=lambda task: HEAD,
    trained="was pretrained by masked language modelling",
    method="fill_mask",
    loss_unit="bits per masked token",
    text_keys=(("text",),),
    ask=_ask,
    ask_options=("top",),
    rows="masked tokens",
    count="masked",
    metrics=(
        Metric("bits per masked token", BITS, unit="bits"),
        Metric("bits per character", BITS_PER_CHARACTER, unit="bits"),
        Metric("perplexity", PERPLEXITY, unit=""),
    ),
    columns=(
        ("layers", lambda row: row["depth"]),
        ("masked tokens", lambda row: row["masked"]),
        ("bits per masked token", lambda row: _with_interval(row, *BITS)),
        ("perplexity", lambda row: f"{row['perplexity']:.4g}"),
        ("bits per character", lambda row: _with_interval(row, *BITS_PER_CHARACTER)),
        ("unknown (%)", lambda row: share(row["unknown"])),
    ),
    architecture="ForMaskedLM",
    pipeline="fill-mask",
)
