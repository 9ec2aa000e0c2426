"""Reading the embedding of a helper model: any model in the vocabulary of the target language."""

import json
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from ..errors import InputError
from .pack import DESCRIPTION, load_pack
from .vectors import TokenVectors

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
            content = _read_json(folder / "tokenizer.json")
            pieces = content["model"]["vocab"]
            if isinstance(pieces, list):  # unigram: [piece, score], its place is its id
                pieces = {piece: row for row, (piece, _) in enumerate(pieces)}
            added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
            rows = {**pieces, **added}
        elif (folder / "vocab.json").is_file():
            rows = dict(_read_json(folder / "vocab.json"))
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
        return dict(sorted(rows.items(), key=lambda row: row[1]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the vocabulary of {folder} is damaged ({error!r})") from None


def _read_embedding(folder: Path) -> Tensor:
    """The input embedding (V, k) of a model in Hugging Face's form; no other tensor is read."""
    for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"):
        path = folder / name
        if path.is_file():
            break
    else:
        raise InputError(
            f"{folder} has neither model.safetensors nor pytorch_model.bin: give the folder of a "
            "whole model"
        )
    try:
        if path.suffix == ".bin":
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return state[_embedding_name(state, path)]
        if path.suffix == ".json":
            files = _read_json(path)["weight_map"]
            path = folder / files[_embedding_name(files, path)]
        with safetensors.safe_open(path, framework="pt") as file:
            return file.get_tensor(_embedding_name(file.keys(), path))
    except InputError:
        raise
    except (
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
        safetensors.SafetensorError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).split("\n")[0][:120]
        raise InputError(f"{path} is damaged or no file of weights ({reason})") from None


def _embedding_name(names: Iterable[str], path: Path) -> str:
    for name in names:
        if name.endswith(EMBEDDINGS):
            return name
    raise InputError(
        f"{path} has no token embedding: no name of a tensor ends with {', '.join(EMBEDDINGS)}"
    )


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
