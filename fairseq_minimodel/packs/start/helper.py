"""Reading the embedding of a helper model: any model in the vocabulary of the target language."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ...bodies.checkpoint import read_checkpoint
from ...bodies.language_side import EMBEDDING
from ...bodies.training_files import find_training_file, symbols_of
from ...bodies.weights import (
    AGAIN,
    check_weights,
    open_safetensors,
    read_index,
    read_torch,
)
from ...errors import InputError
from ...files.records import read_json, shown
from ...vocabulary.matching import spelled_out
from ..pack import DESCRIPTION, load_pack
from .vectors import TokenVectors

WAY_OUT = "fetch or write it again"
# How the input embedding is called in models of Hugging Face, by the end of its name: BERT's and
# its kin, GPT-2, most decoders, encoder-decoders, ModernBERT, GPT-NeoX.
EMBEDDINGS = (
    "word_embeddings.weight",
    "wte.weight",
    "embed_tokens.weight",
    "shared.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
)


def read_helper(path: str | Path, dictionary: str | Path | None = None) -> TokenVectors:
    """The embedding of a checkpoint of fairseq, or of what `read_folder` reads.

    Args:
        dictionary: dict.txt of a checkpoint; None: the one beside it, or in its data folder.

    Raises:
        InputError: there is no model, or it is damaged.
    """
    if Path(path).is_dir():
        return read_folder(path)
    helper = read_checkpoint(path)
    dictionary = dictionary or find_training_file(helper, "dict.txt")
    symbols = spelled_out(symbols_of(helper, dictionary), dictionary)
    return TokenVectors(helper.state[EMBEDDING], symbols, str(helper.path))


def read_folder(folder: str | Path) -> TokenVectors:
    """The embedding of a language pack, or of a model in Hugging Face's form; runs none of its code.

    Of a model are read: the input embedding, from model.safetensors (or its parts, by
    model.safetensors.index.json) or else from pytorch_model.bin; and the vocabulary, from
    tokenizer.json, vocab.json or vocab.txt.

    Raises:
        InputError: a file is missing or damaged, or there is no embedding in the model.
    """
    folder = Path(folder)
    if (folder / DESCRIPTION).is_file():
        pack = load_pack(folder)
        return TokenVectors(pack.side.embedding, pack.symbols, str(folder))
    rows = _read_vocabulary(folder)
    embedding = _read_embedding(folder)
    outside = [index for index in rows.values() if not 0 <= index < len(embedding)]
    if outside:
        raise InputError(
            f"the vocabulary of {folder} has the id {max(outside)} and its embedding "
            f"{len(embedding)} rows: they do not belong together"
        )
    return TokenVectors(embedding[list(rows.values())], list(rows), str(folder))


def _read_vocabulary(folder: Path) -> dict[str, int]:
    """Token to row of a model in Hugging Face's form, by row."""
    try:
        if (folder / "tokenizer.json").is_file():
            rows = _rows_of_tokenizer(read_json(folder / "tokenizer.json", WAY_OUT))
        elif (folder / "vocab.json").is_file():
            rows = dict(read_json(folder / "vocab.json", WAY_OUT))
        elif (folder / "vocab.txt").is_file():
            lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
            rows = {token: row for row, token in enumerate(lines)}
        else:
            raise InputError(
                f"{folder} is neither a language pack (it has no {DESCRIPTION}) nor a model in "
                "Hugging Face's form: it has no tokenizer.json, vocab.json or vocab.txt. Where "
                "there is only a SentencePiece model, save_pretrained of transformers writes a "
                "tokenizer.json"
            )
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise InputError(f"the vocabulary of {folder} is damaged ({error!r})") from None
    wrong = [token for token, row in rows.items() if type(token) is not str or type(row) is not int]
    if wrong or not rows:
        raise InputError(
            f"the vocabulary of {folder} is damaged "
            f"({shown(wrong[0]) if wrong else 'no token'} has no whole number for its id)"
        )
    return dict(sorted(rows.items(), key=lambda row: row[1]))


def _rows_of_tokenizer(content: dict) -> dict[str, int]:
    pieces = content["model"]["vocab"]
    if isinstance(pieces, list):  # unigram: [piece, score], its place is its id
        pieces = {piece: row for row, (piece, _) in enumerate(pieces)}
    added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    return {**pieces, **added}


def _read_embedding(folder: Path) -> Tensor:
    """The input embedding (V, k) of a model in Hugging Face's form; no other tensor is read."""
    for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"):
        path = folder / name
        if path.is_file():
            break
    else:
        raise InputError(
            f"{folder} has neither model.safetensors nor pytorch_model.bin: give the folder of a "
            "complete model"
        )
    if path.suffix == ".bin":
        state = read_torch(path, what="file of weights")
        if not isinstance(state, dict):
            raise InputError(f"{path} is damaged (it holds no tensors by name); {AGAIN}")
        name = _embedding_name((key for key in state if isinstance(key, str)), path)
        embedding = state[name]
    else:
        if path.suffix == ".json":
            files = read_index(path)
            path = folder / files[_embedding_name(files, path)]
        with open_safetensors(path, AGAIN) as file:
            name = _embedding_name(file.keys(), path)
            embedding = file.get_tensor(name)
    check_weights(path, {name: embedding}, AGAIN)
    if embedding.dim() != 2:
        raise InputError(f"{path} has {name} of {embedding.dim()} dimensions, not 2; {AGAIN}")
    return embedding


def _embedding_name(names: Iterable[str], path: Path) -> str:
    for name in names:
        if name.endswith(EMBEDDINGS):
            return name
    raise InputError(
        f"{path} has no token embedding: no name of a tensor ends with {', '.join(EMBEDDINGS)}"
    )
