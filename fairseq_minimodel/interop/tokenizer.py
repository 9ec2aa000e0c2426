"""A pack's tokenizer as Hugging Face's fast tokenizer, tokenizer.json.

A SentencePiece model becomes a model of the same pieces and scores, in the order of the rows of the
embedding. What differs from SentencePiece, by the way the library works:

- Of several ways to cut a text, the one with the highest sum of scores is taken. SentencePiece adds
  32-bit numbers and the library 64-bit ones, so that of two ways with (nearly) equal sums, such as
  "0" + "00" and "00" + "0", each may take another.
- "<s>", "</s>", "<pad>", "<unk>" and "<mask>" in a text are the special tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..bodies.families import ROBERTA
from ..bodies.family import Family
from ..bodies.weights import AGAIN
from ..errors import InputError
from ..files.records import read_json
from ..packs.pack import LanguagePack
from ..vocabulary.sentencepiece_model import SentencePieceModel, read_model
from ..vocabulary.tokenizers import (
    BOS,
    EOS,
    FAST_TOKENIZER_FILE,
    MASK_SYMBOL,
    SPECIAL_SYMBOLS,
    UNK,
    dictionary_pieces,
    load_sentencepiece,
)
from .normaliser import mapping_steps, replace

SPACE = "\u2581"
UNUSED = "NOTUSED"  # as Hugging Face's CamemBERT calls such rows


def fast_tokenizer(pack: LanguagePack, symbols: Sequence[str]) -> dict[str, object]:
    """The content of tokenizer.json for a pack, for texts without anything around them.

    Args:
        symbols: by their ids: those of the pack, and `lost_pieces` behind them.

    Raises:
        InputError: the pack's tokenizer has no such form.
    """
    if pack.tokenizer.name != FAST_TOKENIZER_FILE:
        return of_sentencepiece(pack.tokenizer, symbols)
    content = read_json(pack.tokenizer, AGAIN)
    try:
        tokens = tokens_of(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{pack.tokenizer} is damaged ({error!r}); {AGAIN}") from None
    wrong = [token for token, row in tokens.items() if pack.symbols[row : row + 1] != [token]]
    if wrong:
        raise InputError(
            f"{pack.tokenizer} and {pack.dictionary} have other ids for {wrong[0]!r}: they do "
            "not belong together"
        )
    return content


def lost_pieces(pack: LanguagePack) -> list[str]:
    """The pieces of a SentencePiece model that dict.txt lacks: fairseq reads them as <unk>.

    `fairseq-preprocess` leaves out what the text does not have.
    """
    if pack.tokenizer.name == FAST_TOKENIZER_FILE:
        return []
    known = set(pack.symbols)
    pieces = dictionary_pieces(load_sentencepiece(pack.tokenizer))
    return [piece for piece, _ in pieces if piece not in known]


def of_sentencepiece(path: Path, symbols: Sequence[str]) -> dict[str, object]:
    """The content of tokenizer.json for a SentencePiece model.

    Args:
        symbols: by their ids.

    Raises:
        InputError: the file is missing or damaged, or the model has no such form.
    """
    model, symbols = read_model(path), distinct(symbols)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special_added_tokens({name: row for row, name in enumerate(symbols)}),
        "normalizer": _normaliser(model),
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": _decoder(model),
        "model": _merging(model, symbols) if model.merges else _scored(model, symbols),
    }


def distinct(symbols: Sequence[str]) -> list[str]:
    """The symbols, with another name for each row that no text leads to.

    A dict.txt may have a symbol twice (`read_counts`): then text leads to the later row. fairseq's own
    special symbols are fed by their places, which are the first.
    """
    rows = {symbol: row for row, symbol in enumerate(symbols)} | {
        symbol: row for row, symbol in enumerate(SPECIAL_SYMBOLS)
    }
    names, taken = [], set(symbols)
    for row, symbol in enumerate(symbols):
        if rows[symbol] != row:
            while symbol in taken:
                symbol += UNUSED
            taken.add(symbol)
        names.append(symbol)
    return names


def _scored(model: SentencePieceModel, symbols: Sequence[str]) -> dict[str, object]:
    """A model of scores: (symbol, score) of each row. Symbols that are not pieces get the lowest."""
    lowest = min(model.scores.values())
    return {
        "type": "Unigram",
        "unk_id": UNK,
        "vocab": [(symbol, model.scores.get(symbol, lowest)) for symbol in symbols],
        "byte_fallback": bool(model.bytes),
    }


def _merging(model: SentencePieceModel, symbols: Sequence[str]) -> dict[str, object]:
    """BPE: pairs of pieces in the order in which they are joined, which is that of what they become."""
    merges = [
        (piece[:place], piece[place:])
        for piece in sorted(model.scores, key=model.scores.__getitem__, reverse=True)
        for place in range(1, len(piece))
        if piece[:place] in model.scores and piece[place:] in model.scores
    ]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": SPECIAL_SYMBOLS[UNK],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": bool(model.bytes),
        "vocab": {symbol: row for row, symbol in enumerate(symbols)},
        "merges": merges,
    }


def _decoder(model: SentencePieceModel) -> dict[str, object]:
    spaces = {
        "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True,
    }  # fmt: skip
    if not model.bytes:
        return spaces
    return {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, spaces]}


def special_added_tokens(rows: Mapping[str, int]) -> list[dict[str, object]]:
    """The special tokens; <mask> takes the space before it, so that it can stand for a word.

    Args:
        rows: token to id.
    """
    return [
        {
            "id": rows[token],
            "content": token,
            "single_word": False,
            "lstrip": token == MASK_SYMBOL,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in (*SPECIAL_SYMBOLS, MASK_SYMBOL)
    ]


def template(
    task: dict[str, object], symbols: Sequence[str], family: Family = ROBERTA
) -> dict[str, object]:
    """What goes around one text and two: as fairseq's task feeds the model.

    Args:
        task: settings of the task. Of `sentence_prediction` they name the tokens before the texts;
            masked language modelling and span_qa have "<s> a </s>" and "<s> a </s> </s> b </s>".
        family: of the body. Where it has a single separator there is no other form of pairs.
    """
    first, second = BOS, EOS if family.pair_separators > 1 else None
    if task.get("_name") == "sentence_prediction":
        first = task.get("init_token")
        second = task.get("separator_token") if second is not None else None
    type_id = int(family.has_second_text)

    def special(token: int | None, type_id: int = 0) -> list[dict[str, object]]:
        known = token is not None
        return [{"SpecialToken": {"id": symbols[token], "type_id": type_id}}] if known else []

    single = [*special(first), {"Sequence": {"id": "A", "type_id": 0}}, *special(EOS)]
    pair = [*single, *special(second), {"Sequence": {"id": "B", "type_id": type_id}}]
    pair += special(EOS, type_id)
    used = sorted({EOS, first, second} - {None})
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {
            symbols[token]: {"id": symbols[token], "ids": [token], "tokens": [symbols[token]]}
            for token in used
        },
    }


def settings(longest: int, family: Family) -> dict[str, object]:
    """The content of tokenizer_config.json, but for the special tokens.

    Args:
        longest: tokens that the model reads.
    """
    types = ["token_type_ids"] if family.has_second_text else []
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "model_input_names": ["input_ids", *types, "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }


def tokens_of(content: dict) -> dict[str, int]:
    """Token to id of the content of a tokenizer.json."""
    pieces = content["model"]["vocab"]
    if isinstance(pieces, list):  # unigram: [piece, score], its place is its id
        pieces = {piece: row for row, (piece, _) in enumerate(pieces)}
    return {**pieces, **{token["content"]: token["id"] for token in content["added_tokens"]}}


def renumbered(content: dict, symbols: Sequence[str], family: Family) -> dict:
    """The content of a tokenizer.json with other ids: each token's place among the symbols."""
    rows = {symbol: row for row, symbol in enumerate(symbols)}
    model = dict(content["model"])
    if isinstance(model["vocab"], list):
        model["vocab"] = sorted(model["vocab"], key=lambda piece: rows[piece[0]])
        model["unk_id"] = UNK
    else:
        model["vocab"] = {piece: rows[piece] for piece in model["vocab"]}
    added = [{**token, "id": rows[token["content"]]} for token in content["added_tokens"]]
    return {
        **content,
        "model": model,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "post_processor": template({}, SPECIAL_SYMBOLS, family),
    }


def _normaliser(model: SentencePieceModel) -> dict[str, object]:
    """Text to what the pieces are cut from, as SentencePiece does it."""
    steps = []
    if model.characters:
        steps += mapping_steps(model.characters, set("".join(model.scores)))
    if model.removes_spaces:
        steps.append(replace("^ +| +$", ""))
    steps.append(replace(" +" if model.removes_spaces else " ", SPACE))
    if model.adds_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    return {"type": "Sequence", "normalizers": steps}
