"""A body in the language of a pack, as a folder that Hugging Face's library loads by itself.

Nothing of that library is needed to write it: config.json, model.safetensors, tokenizer.json and
their companions are made here.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from ..bodies import surgery
from ..bodies.checkpoint import Checkpoint, read_checkpoint
from ..bodies.cost import training_cost
from ..bodies.language_side import EMBEDDING, StateDict
from ..bodies.parts import SPAN_HEAD
from ..errors import InputError
from ..evaluation.classify import DEFAULT_HEAD, Classifier
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..modules.method import is_module_part
from ..packs.module import load_module, merge_module
from ..packs.pack import LanguagePack, check_tokenizer, load_pack
from ..packs.plug import plug
from ..packs.trained_language import unfit_packs
from ..terminal.progress import waiting
from ..vocabulary.sentencepiece_model import read_pieces
from ..vocabulary.tokenizers import (
    BOS,
    EOS,
    FAST_TOKENIZER_FILE,
    MASK_SYMBOL,
    PAD,
    SPECIAL_SYMBOLS,
    TOKENIZER_FILES,
    UNK,
)
from .card import Origin, Statements, model_card, read_scores
from .names import (
    FIXED,
    PROBABILITIES,
    SIZES,
    TOKEN_TYPES,
    WORDS,
    task_names,
    tensor_names,
)
from .tokenizer import (
    fast_tokenizer,
    lost_pieces,
    settings,
    special_tokens,
    template,
)

NEVER = -1e4  # an output bias so low that the symbol has no probability in any precision

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
EXPORTED = FolderForm(
    "an exported model",
    (WEIGHTS, CONFIG, CARD),
    (*TOKENIZER_FILES, "tokenizer_config.json", "special_tokens_map.json"),
    lambda folder: "fairseq-minimodel" in (folder / CARD).read_text("utf-8", "replace"),
)


def export_hf(
    body: Path,
    pack: Path,
    output: Path,
    module: Path | None = None,
    depth: int | None = None,
    labels: Path | None = None,
    scores: Path | None = None,
    base_model: str | None = None,
    license: str | None = None,
    datasets: Sequence[str] = (),
) -> None:
    """Write the body in the language of the pack in Hugging Face's form, with its tokenizer and card.

    All heads that the body has go with it, so that the one folder is what `AutoModelForMaskedLM`,
    and `AutoModelForSequenceClassification` or `AutoModelForQuestionAnswering`, load.

    Args:
        module: a task module that was trained over the body, to be merged into it.
        depth: export the bottom layers alone, with the MLM head after them.
        labels: dict.txt of the labels; None: that of the training data or of the module.
        scores: the file that `evaluate --json` wrote, for the model card.
        base_model, license, datasets: for the model card, see `Statements`.

    Raises:
        InputError: a file is missing or damaged, the parts do not belong together, or the library
            has no such model.
    """
    check_folder(output, EXPORTED, body, pack, module, labels, scores)
    statements = Statements(base_model, license, datasets)
    language = load_pack(pack)
    lost = lost_pieces(language)
    symbols = [*language.symbols, *lost]
    tokenizer = fast_tokenizer(language, symbols)
    check_tokenizer(language.tokenizer, language.dictionary)
    known_scores = read_scores(scores) if scores else []
    checkpoint = read_checkpoint(body)
    cost = training_cost(checkpoint)
    task_module = load_module(module) if module else None
    if task_module:
        checkpoint = merge_module(checkpoint, task_module)[0]
        labels = labels or task_module.labels
    if depth is not None:
        checkpoint = surgery.truncate(checkpoint, depth)[0]
    plugged = plug(checkpoint, language)[0]
    _check(plugged, body)
    unfit_packs(checkpoint, [language])
    head, classes = _classes(plugged, body, labels)
    state = _with_rows(_converted(plugged.state, plugged.layers, head), len(lost))
    config = _config(plugged, language, state, classes)
    task = plugged.config.get("task", {})
    around = template(task, language.symbols)
    if tokenizer["post_processor"] is None or around != template({}, SPECIAL_SYMBOLS):
        tokenizer["post_processor"] = around
    longest = plugged.body_settings()["max_positions"]
    card = model_card(
        output.resolve().name,
        config["architectures"],
        Origin(plugged, body, language.description, task_module and task_module.description, cost),
        classes,
        known_scores,
        statements,
    )
    with waiting(f"writing {output}"), atomic_folder(output, EXPORTED) as folder:
        safetensors.torch.save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        for name, content in {
            CONFIG: config,
            FAST_TOKENIZER_FILE: tokenizer,
            "tokenizer_config.json": settings(longest),
            "special_tokens_map.json": special_tokens(),
        }.items():
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (folder / name).write_text(text + "\n", encoding="utf-8")
        if _has_the_order_of_xlmr(language):
            shutil.copyfile(language.tokenizer, folder / language.tokenizer.name)
        (folder / CARD).write_text(card, encoding="utf-8")
    parameters = sum(tensor.numel() for tensor in state.values())
    print(
        f"{output}: {', '.join(config['architectures'])}, {plugged.layers} layers, "
        f"{language.description.language}, {parameters:,} parameters"
        + f"; {len(lost):,} pieces that dict.txt lacks have the row of <unk>"
        * bool(lost)
    )


def _check(checkpoint: Checkpoint, body: Path) -> None:
    """Refuse what the library's RoBERTa cannot express."""
    if any(is_module_part(name) for name in checkpoint.state):
        raise InputError(
            f"{body} has a task module inside, which the library's RoBERTa has not: give the body "
            "that it was trained over, and a module that merges with --module"
        )
    activation = checkpoint.body_settings()["activation_fn"]
    if activation != FIXED["hidden_act"]:
        raise InputError(
            f"{body} has activation_fn {activation}, and the MLM head of the library's RoBERTa has "
            "gelu and nothing else: it cannot be exported"
        )
    pooler = checkpoint.model_config.get("pooler_activation_fn") or "tanh"
    if pooler != "tanh" and any(name.startswith("classif") for name in checkpoint.state):
        raise InputError(
            f"{body} has pooler_activation_fn {pooler}, and the classification head of the library's "
            "RoBERTa has tanh and nothing else: it cannot be exported"
        )


def _classes(checkpoint: Checkpoint, body: Path, labels: Path | None) -> tuple[str, list[str]]:
    """Name of the classification head, and its labels in order; none if there is no such head."""
    task = checkpoint.config.get("task", {})
    head = task.get("classification_head_name", DEFAULT_HEAD)
    if f"classification_heads.{head}.out_proj.weight" not in checkpoint.state:
        return head, []
    dense = checkpoint.state[f"classification_heads.{head}.dense.weight"]
    if dense.size(0) != dense.size(1):
        raise InputError(
            f"the classification head of {body} is {dense.size(0)} wide and the body "
            f"{dense.size(1)}, which the library's RoBERTa cannot have"
        )
    return head, Classifier(body, checkpoint, labels).classes


def _converted(state: StateDict, layers: int, head: str) -> StateDict:
    """The tensors under the library's names, in float32; the one of token types is zero."""
    names = tensor_names(layers) | task_names(head)
    theirs = {
        name: state[ours].float().contiguous().clone()
        for ours, name in names.items()
        if ours in state
    }
    return theirs | {TOKEN_TYPES: torch.zeros(1, state[EMBEDDING].size(1))}


def _with_rows(state: StateDict, count: int) -> StateDict:
    """The tensors with so many more symbols, which are read as <unk> and never predicted."""
    unknown = state[WORDS][UNK].expand(count, -1)
    bias = torch.full((count,), NEVER)
    return state | {
        WORDS: torch.cat([state[WORDS], unknown]),
        "lm_head.bias": torch.cat([state["lm_head.bias"], bias]),
    }


def _has_the_order_of_xlmr(language: LanguagePack) -> bool:
    """Whether the library's XLMRobertaTokenizer, given the SentencePiece model, has the same ids."""
    if language.tokenizer.name == FAST_TOKENIZER_FILE:
        return False
    pieces = read_pieces(language.tokenizer)
    return language.symbols == [*SPECIAL_SYMBOLS, *pieces[3:], MASK_SYMBOL]


def _config(
    checkpoint: Checkpoint, language: LanguagePack, state: StateDict, classes: list[str]
) -> dict[str, object]:
    """The content of config.json."""
    body, model = checkpoint.body_settings(), checkpoint.model_config
    byte_level = language.tokenizer.name == FAST_TOKENIZER_FILE
    # One architecture under two names; it is the tokenizer that one expects with each.
    kind, prefix = ("roberta", "Roberta") if byte_level else ("xlm-roberta", "XLMRoberta")
    architectures = [f"{prefix}ForMaskedLM"]
    if classes:
        architectures.insert(0, f"{prefix}ForSequenceClassification")
    if f"{SPAN_HEAD}.weight" in checkpoint.state:
        architectures.insert(0, f"{prefix}ForQuestionAnswering")
    numbered = {str(index): label for index, label in enumerate(classes)}
    labels = {"id2label": numbered, "label2id": {name: int(i) for i, name in numbered.items()}}
    return {
        "architectures": architectures,
        "model_type": kind,
        "vocab_size": state["lm_head.bias"].size(0),
        **{theirs: body[ours] for ours, theirs in SIZES.items()},
        **{theirs: _number(model.get(ours), 0.1) for ours, theirs in PROBABILITIES.items()},
        "classifier_dropout": _number(model.get("pooler_dropout"), 0.0),
        "hidden_act": FIXED["hidden_act"],
        "layer_norm_eps": FIXED["layer_norm_eps"],
        # rows for the padding index and the one below it are no positions
        "max_position_embeddings": body["max_positions"] + 2,
        "type_vocab_size": 1,
        "bos_token_id": BOS,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        **(labels if classes else {}),
    }


def _number(value: object, default: float) -> float:
    return default if value is None else float(value)
