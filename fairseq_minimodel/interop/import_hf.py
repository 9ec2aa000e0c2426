"""A RoBERTa, XLM-R or CamemBERT in the form of Hugging Face, as a body and the pack of its language."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from ..bodies.checkpoint import (
    POSITIONS,
    Checkpoint,
    check_state,
    identified,
    is_without_training,
    with_present_names,
    write_checkpoint,
)
from ..bodies.language_side import EMBEDDING, OUTPUT_BIAS, TIED_PROJECTION, StateDict
from ..bodies.weights import (
    AGAIN,
    check_finite,
    check_weights,
    read_index,
    read_safetensors,
    read_torch,
)
from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..files.records import read_json, record, shown
from ..models.config import masked_lm_config
from ..packs.commands import describe
from ..packs.pack import DICTIONARY, check_language, save_pack, tokenizer_in
from ..packs.pack import PACK as FORM
from ..terminal.progress import waiting
from ..vocabulary.sentencepiece_model import read_pieces
from ..vocabulary.tokenizers import (
    BOS,
    EOS,
    FAST_TOKENIZER_FILE,
    MASK_SYMBOL,
    SENTENCEPIECE_FILE,
    SPECIAL_SYMBOLS,
    TOKENIZER_FILES,
    write_dictionary,
)
from .added_tokens import add_tokens, read_added_tokens
from .names import (
    FIXED,
    MODEL_TYPES,
    NOT_USED,
    PROBABILITIES,
    SIZES,
    TIED_NAMES,
    TOKEN_TYPES,
    WORDS,
    tensor_names,
)
from .tokenizer import (
    of_sentencepiece,
    renumbered,
    special_added_tokens,
    tokens_of,
)

BODY, PACK = "body.pt", "pack"
WEIGHTS, INDEX, OLD_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
IMPORTED = FolderForm(
    "an imported model",
    (BODY, DICTIONARY),
    (*TOKENIZER_FILES, *(f"{PACK}/{name}" for name in (*FORM.marks, *FORM.files))),
    lambda folder: is_without_training(folder / BODY),
)


@dataclass(frozen=True)
class Sizes:
    """What config.json must say of a model, by the library's names."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    vocab_size: int
    max_position_embeddings: int
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1


@dataclass(frozen=True)
class Tokens:
    """The vocabulary of a model.

    Attributes:
        rows: token to row of the embedding.
        tokenizer: a SentencePiece model as it is, or the content of a tokenizer.json.
        file: where they come from.
    """

    rows: dict[str, int]
    tokenizer: Path | dict
    file: Path


def import_hf(model: Path, language: str, output: Path) -> None:
    """Write the folder `output`: body.pt, with its dict.txt and tokenizer, and pack/.

    Tensors are kept as they are, in float32, but for the rows of the vocabulary, which get fairseq's
    order (<s>, <pad>, </s>, <unk> first; RoBERTa and XLM-R have it already), and the embedding of
    token types, which fairseq does not have: it is added to the position embeddings.

    Args:
        model: folder with config.json, the weights and the tokenizer.
        language: its name, as the user calls it.

    Raises:
        InputError: a file is missing or damaged, or the model is none that fairseq can express.
    """
    check_language(language)
    check_folder(output, IMPORTED, model)
    config = _read_json(model / "config.json")
    _check_config(config, model)
    with waiting(f"reading {model}"):  # weights are read where they are converted
        theirs = _read_weights(model)
        tokens = _read_tokens(model, config["model_type"])
        state, notes = _converted(theirs, config, model)
    symbols, order = _symbols(tokens, len(state[EMBEDDING]), model)
    for name in (EMBEDDING, OUTPUT_BIAS):
        state[name] = state[name][order].contiguous()
    state[TIED_PROJECTION] = state[EMBEDDING]
    moved = order != sorted(order)
    if moved:
        notes.append("rows of the vocabulary put into fairseq's order")
    with atomic_folder(output, IMPORTED) as folder:
        _write_vocabulary(folder, symbols, tokens, moved)
        state, settings = with_present_names(state), _config(config, output)
        body = identified(Checkpoint(folder / BODY, state, settings, 0), folder / DICTIONARY)
        write_checkpoint(folder / BODY, body)
        description, side = describe(body, language, symbols), body.language_side()
        dictionary, tokenizer = folder / DICTIONARY, tokenizer_in(folder)
        save_pack(folder / PACK, side, description, dictionary, tokenizer)
    print(
        f"{output}: {BODY}, {body.layers} layers, and {PACK}, {language}, "
        f"{side.vocabulary_size} x {side.width}, lineage {description.lineage}"
        + "".join(f"; {note}" for note in notes)
    )


def _check_config(config: dict, model: Path) -> None:
    """Refuse what fairseq's RoBERTa cannot express."""
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise InputError(
            f"{model} is a model of the type {kind!r}; only {', '.join(MODEL_TYPES)} can be imported"
        )
    record(config, Sizes, model / "config.json", AGAIN, others=True)
    for name in (*SIZES.values(), "vocab_size", "max_position_embeddings"):
        if config[name] < (3 if name == "max_position_embeddings" else 1):
            raise InputError(
                f"{model / 'config.json'} has {name} {config[name]}, which is too small"
            )
    if config["hidden_size"] % config["num_attention_heads"]:
        raise InputError(
            f"{model / 'config.json'} has num_attention_heads {config['num_attention_heads']}, which "
            f"does not divide hidden_size {config['hidden_size']}"
        )
    for name, value in FIXED.items():
        # what it leaves out is as in the library, where two defaults are not RoBERTa's own
        found = config.get(name, 1e-12 if name == "layer_norm_eps" else value)
        if found != value:
            raise InputError(
                f"{model / 'config.json'} has {name} {found!r}, and fairseq's RoBERTa has {value!r} "
                "and nothing else: the model cannot be imported"
            )


def _read_weights(model: Path) -> StateDict:
    """All tensors of a model, from model.safetensors, its parts, or pytorch_model.bin."""
    if (path := model / WEIGHTS).is_file():
        paths = [path]
    elif (path := model / INDEX).is_file():
        paths = [model / name for name in sorted(set(read_index(path).values()))]
    elif (path := model / OLD_WEIGHTS).is_file():
        paths = [path]
    else:
        raise InputError(
            f"{model} has neither {WEIGHTS} nor {OLD_WEIGHTS}: give the folder of a whole model"
        )
    state: StateDict = {}
    for path in paths:
        if path.name == OLD_WEIGHTS:
            part = read_torch(path, what="file of weights")
            if not isinstance(part, dict):
                raise InputError(f"{path} is damaged (it holds no tensors by name); {AGAIN}")
        else:
            part = read_safetensors(path, AGAIN)
        check_finite(path, part, AGAIN)
        state |= part
    return state


def _converted(theirs: StateDict, config: dict, model: Path) -> tuple[StateDict, list[str]]:
    """The state dict under fairseq's names, in float32, and what there is to say about it."""
    layers = config["num_hidden_layers"]
    last = tensor_names(1, first=layers - 1)
    names = last if any(name not in theirs for name in last.values()) else tensor_names(layers)
    missing = [name for name in names.values() if name not in theirs]
    if missing:
        head = " (a model without its MLM head)" if missing[0].startswith("lm_head") else ""
        raise InputError(
            f"the weights of {model} lack {missing[0]}{head}: give a model as AutoModelForMaskedLM "
            "saves it"
        )
    used = {name: theirs[name] for name in (*names.values(), TOKEN_TYPES) if name in theirs}
    check_weights(model, used, AGAIN, finite=False)
    for ours, name in names.items():
        shape = _shape(ours, config)
        if tuple(theirs[name].shape) != shape:
            raise InputError(
                f"{name} of {model} has the shape {tuple(theirs[name].shape)} and config.json says "
                f"{shape}: they do not belong together"
            )
    for name, same in zip(TIED_NAMES, (WORDS, "lm_head.bias"), strict=True):
        if name in theirs and not torch.equal(theirs[name], theirs[same]):
            raise InputError(
                f"{name} of {model} is not {same}: the projection of its MLM head is not tied to "
                "the embedding, and fairseq's is"
            )
    state = {ours: theirs[name].float() for ours, name in names.items()}
    check_state(model, state)
    notes = []
    if TOKEN_TYPES in theirs and tuple(theirs[TOKEN_TYPES].shape[1:]) != (config["hidden_size"],):
        raise InputError(
            f"{TOKEN_TYPES} of {model} has the shape {tuple(theirs[TOKEN_TYPES].shape)} and "
            f"config.json says a width of {config['hidden_size']}: they do not belong together"
        )
    if TOKEN_TYPES in theirs and theirs[TOKEN_TYPES][0].any():
        state[POSITIONS] = state[POSITIONS] + theirs[TOKEN_TYPES][0].float()
        notes.append("embedding of token type 0 added to the position embeddings")
    known = {*names.values(), *TIED_NAMES, TOKEN_TYPES}
    left = sorted({name for name in theirs if name not in known and "position_ids" not in name})
    if left:
        notes.append(f"left out: {', '.join(left[:4])}" + ", ..." * (len(left) > 4))
    return state, notes


def _shape(name: str, config: dict) -> tuple[int, ...]:
    """The shape of a tensor, by its name in fairseq."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    rows = {
        EMBEDDING: config["vocab_size"],
        OUTPUT_BIAS: config["vocab_size"],
        POSITIONS: config["max_position_embeddings"],
    }.get(name, inner if ".fc1." in name else width)
    if name == OUTPUT_BIAS or name.endswith(".bias") or "norm" in name:
        return (rows,)
    return rows, inner if ".fc2." in name else width


def _read_tokens(model: Path, kind: str) -> Tokens:
    """The vocabulary, with the tokens that were added to it.

    A SentencePiece model is the pack's tokenizer where it has all tokens. Otherwise that is a
    tokenizer.json: the one in the folder, or one that is made of the other files.
    """
    pieces, fast = model / SENTENCEPIECE_FILE, model / FAST_TOKENIZER_FILE
    try:
        added = read_added_tokens(model)
        rows, content, file, tokenizer = {}, None, pieces, pieces
        if pieces.is_file():
            rows = _rows_of_pieces(pieces, kind)
            if added and not fast.is_file():
                symbols = sorted(rows, key=rows.__getitem__)
                content = of_sentencepiece(pieces, symbols)
                # slow tokenizers look for all of them in the text as it is
                added = [{**token, "normalized": False} for token in added]
        if fast.is_file():
            file, content = fast, _read_json(fast)
        elif not pieces.is_file():
            file, content = model / "vocab.json", _byte_level(model)
        if content is not None:
            content = add_tokens(content, added)
            tokenizer = pieces if _has_all(rows, content) else content
            rows = tokens_of(content)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the tokenizer of {model} is damaged ({error!r})") from None
    wrong = [
        token
        for token, row in rows.items()
        if type(token) is not str or type(row) is not int or row < 0
    ]
    if wrong or not rows:
        raise InputError(
            f"the tokenizer of {model} is damaged "
            f"({shown(wrong[0]) if wrong else 'no token'} has no id from 0 on)"
        )
    return Tokens(rows, tokenizer, file)


def _has_all(rows: dict[str, int], content: dict) -> bool:
    """Whether a SentencePiece model with these tokens can stand for a tokenizer.json."""
    special = {*SPECIAL_SYMBOLS, MASK_SYMBOL, *NOT_USED}
    added = {token["content"] for token in content["added_tokens"]}
    return rows.keys() - special == tokens_of(content).keys() - special and added <= special


def _rows_of_pieces(path: Path, kind: str) -> dict[str, int]:
    """Token to row where there is a SentencePiece model alone: as the model's own tokenizer has it.

    XLM-R puts fairseq's four symbols before the pieces, in the place of SentencePiece's three;
    CamemBERT's dict.txt holds SentencePiece's three besides, and they are the ones that are used.
    """
    pieces = read_pieces(path)
    if kind == "camembert":
        before = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]
        tokens = [*before, *pieces[1:], MASK_SYMBOL]
    else:
        tokens = [*SPECIAL_SYMBOLS, *pieces[3:], MASK_SYMBOL]
    return {token: row for row, token in enumerate(tokens)}


def _byte_level(model: Path) -> dict:
    """RoBERTa's tokenizer, of vocab.json and merges.txt, as the content of a tokenizer.json."""
    if not ((model / "vocab.json").is_file() and (model / "merges.txt").is_file()):
        raise InputError(
            f"{model} has no tokenizer: neither {SENTENCEPIECE_FILE}, nor {FAST_TOKENIZER_FILE}, "
            "nor vocab.json with merges.txt"
        )
    rows = _read_json(model / "vocab.json")
    lines = (model / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    ends = [[SPECIAL_SYMBOLS[index], rows[SPECIAL_SYMBOLS[index]]] for index in (EOS, BOS)]
    space = {"add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special_added_tokens(rows),
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", **space, "use_regex": True},
        "post_processor": {"type": "RobertaProcessing", "sep": ends[0], "cls": ends[1], **space},
        "decoder": {"type": "ByteLevel", **space, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": rows,
            "merges": merges,
        },
    }


def _symbols(tokens: Tokens, count: int, model: Path) -> tuple[list[str], list[int]]:
    """The symbol of each row in fairseq's order, and which row of the model each one is."""
    rows = tokens.rows
    lost = [token for token in (*SPECIAL_SYMBOLS, MASK_SYMBOL) if token not in rows]
    if lost:
        raise InputError(f"the tokenizer of {model} has no {lost[0]}, which fairseq needs")
    if max(rows.values()) >= count:
        raise InputError(
            f"the tokenizer of {model} has the id {max(rows.values())} and the embedding {count} "
            "rows: they do not belong together"
        )
    if len(rows) < count / 2:
        raise InputError(
            f"the tokenizer of {model} has {len(rows)} tokens and the embedding {count} rows: they do "
            "not belong together"
        )
    broken = next((token for token in rows if not _fits_a_line(token)), None)
    if broken is not None:
        raise InputError(
            f"{tokens.file} has the token {broken!r}, which does not fit into a line of fairseq's "
            "dict.txt: take it out of the tokenizer, or write it without a line break"
        )
    symbols = {row: token for token, row in rows.items()}
    first = [rows[token] for token in SPECIAL_SYMBOLS]
    order = [*first, *(row for row in range(count) if row not in first)]
    names = [symbols.get(row, f"madeupword{row}") for row in order]  # as fairseq fills gaps
    return names, order


def _fits_a_line(token: str) -> bool:
    lone_surrogate = any("\ud800" <= character <= "\udfff" for character in token)
    return not lone_surrogate and "\n" not in token and "\r" not in token


def _write_vocabulary(folder: Path, symbols: list[str], tokens: Tokens, moved: bool) -> None:
    """dict.txt and the tokenizer."""
    ordinary = symbols[len(SPECIAL_SYMBOLS) :]
    if ordinary[-1] == MASK_SYMBOL:  # where fairseq puts it itself
        ordinary.pop()
    write_dictionary(folder / DICTIONARY, ordinary, [0] * len(ordinary))
    if isinstance(tokens.tokenizer, Path):
        shutil.copyfile(tokens.tokenizer, folder / SENTENCEPIECE_FILE)
        return
    content = renumbered(tokens.tokenizer, symbols) if moved else tokens.tokenizer
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / FAST_TOKENIZER_FILE).write_text(text + "\n", encoding="utf-8")


def _config(config: dict, output: Path) -> dict:
    """A configuration with which fairseq's own tools load the body."""
    sizes = {ours: config[theirs] for ours, theirs in SIZES.items()}
    probabilities = {ours: float(config.get(theirs, 0.1)) for ours, theirs in PROBABILITIES.items()}
    # rows for the padding index and the one below it are no positions
    positions = config["max_position_embeddings"] - 2
    return masked_lm_config(
        {**sizes, **probabilities, "max_positions": positions}, str(output.resolve()), positions
    )


def _read_json(path: Path) -> dict:
    content = read_json(path, AGAIN)
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged (it is {shown(content)}, not an object); {AGAIN}")
    return content
