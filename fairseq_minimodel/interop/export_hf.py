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
from ..bodies.families import BERT, ROBERTA
from ..bodies.family import Family
from ..bodies.identity import lineage_of
from ..bodies.language_side import StateDict
from ..bodies.tensors import EMBEDDING, OUTPUT_BIAS, POSITION_OFFSET, POSITIONS, SECOND_TEXT
from ..bodies.training_files import find_record
from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm, check_folder
from ..files.records import shown
from ..kinds import CLASSIFICATION, CLASSIFICATION_HEADS, LABELS, MASKED
from ..kinds.classification import head_name
from ..kinds.registry import KINDS
from ..modules.method import is_module_part
from ..packs.module import load_module, task_heads
from ..packs.pack import LanguagePack, check_tokenizer, load_pack
from ..packs.plug import plug
from ..packs.plug_module import merge_module
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
from .import_hf import read_model
from .joined import join
from .modern_settings import modern_config
from .sentence_transformers import FILES as VECTORS
from .sentence_transformers import write_sentence_settings
from .tokenizer import fast_tokenizer, lost_pieces, settings, template

NEVER = -1e4  # an output bias so low that the symbol has no probability in any precision

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
EXPORTED = FolderForm(
    "an exported model",
    (WEIGHTS, CONFIG, CARD),
    (*TOKENIZER_FILES, "tokenizer_config.json", "special_tokens_map.json", *VECTORS),
    lambda folder: "fairseq-minimodel" in (folder / CARD).read_text("utf-8", "replace"),
)


def export_hf(
    body: Path | None,
    pack: Path,
    output: Path,
    model: Path | None = None,
    like: Path | None = None,
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
    and `AutoModelForSequenceClassification`, `AutoModelForTokenClassification` or
    `AutoModelForQuestionAnswering`, load; of a body that is made for sentence vectors, what
    `SentenceTransformer` loads, too.

    The arguments are those of `ExportHFOptions`: either a body, or a model in Hugging Face's form.

    Raises:
        InputError: a file is missing or damaged, the parts do not belong together, or the library
            has no such model.
    """
    if (body is None) == (model is None) or (like and body):
        raise InputError("give either --body, or --model, perhaps with --like")
    check_folder(output, EXPORTED, body, model, like, pack, module, labels, scores)
    statements = Statements(base_model, license, datasets)
    language = load_pack(pack)
    lost = lost_pieces(language)
    symbols = [*language.symbols, *lost]
    if lost and not language.side.is_tied:
        raise InputError(
            f"{language.dictionary} lacks {len(lost):,} pieces of its tokenizer ({shown(lost[0])}), "
            "and without an output bias they cannot be kept from being predicted: prepare the text "
            "with `fairseq-minimodel prepare`, which leaves out none"
        )
    tokenizer = fast_tokenizer(language, symbols)
    check_tokenizer(language.tokenizer, language.dictionary)
    known_scores = read_scores(scores) if scores else []
    imported = read_model(model, like) if model else None
    origin = body or model
    checkpoint = imported.body if imported else read_checkpoint(body)
    cost = training_cost(checkpoint)
    if model and not like and language.description.lineage != lineage_of(checkpoint.state):
        raise InputError(
            f"{model} does not say which lineage it is of, and the pack {pack} fits that of its own: "
            "name the body that the model was fine-tuned from (--like BODY)"
        )
    task_module = load_module(module) if module else None
    if task_module:
        checkpoint = merge_module(checkpoint, task_module)[0]
        own = task_module.folder / LABELS
        labels = labels or (own if own.is_file() else None)
    if depth is not None:
        checkpoint = surgery.truncate(checkpoint, depth)[0]
    plugged = plug(checkpoint, language)[0]
    form = _form(plugged)
    _check(plugged, origin, form)
    unfit_packs(checkpoint, [language])
    known_classes = imported.heads.labels if imported and not task_module else None
    head, classes = _classes(plugged, origin, labels, known_classes)
    state = _converted(plugged, head, len(lost), form)
    config = _config(plugged, language, len(symbols), classes, form)
    task = plugged.config.get("task", {})
    around = template(task, language.symbols, form)
    if tokenizer["post_processor"] is None or around != template({}, SPECIAL_SYMBOLS):
        tokenizer["post_processor"] = around
    longest, special = plugged.body_settings()["max_positions"], dict(form.special_tokens)
    card = model_card(
        output.resolve().name,
        config["architectures"],
        Origin(
            plugged, origin, language.description, task_module and task_module.description, cost
        ),
        classes,
        known_scores,
        statements,
    )
    with waiting(f"writing {output}"), atomic_folder(output, EXPORTED) as folder:
        safetensors.torch.save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        for name, content in {
            CONFIG: config,
            FAST_TOKENIZER_FILE: tokenizer,
            "tokenizer_config.json": settings(longest, form) | special,
            "special_tokens_map.json": special,
        }.items():
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (folder / name).write_text(text + "\n", encoding="utf-8")
        kind = form.model_types[config["model_type"]]
        # where the library's own tokenizer of the family has the same ids
        if not form.special_there and kind.tokens(_pieces(language)) == language.symbols:
            shutil.copyfile(language.tokenizer, folder / language.tokenizer.name)
        if vectors := plugged.sentence_settings():
            write_sentence_settings(folder, vectors, language.description.width, longest)
        (folder / CARD).write_text(card, encoding="utf-8")
    parameters = sum(tensor.numel() for tensor in state.values())
    print(
        f"{output}: {', '.join(config['architectures'])}, {plugged.layers} layers, "
        f"{language.description.language}, {parameters:,} parameters"
        + f"; {len(lost):,} pieces that dict.txt lacks have the row of <unk>" * bool(lost)
        + "".join(f"; {note}" for note in (imported.notes if imported else ()))
    )


def _pieces(language: LanguagePack) -> list[str]:
    """The pieces of a pack's SentencePiece model; none if its tokenizer is another one."""
    byte_level = language.tokenizer.name == FAST_TOKENIZER_FILE
    return [] if byte_level else read_pieces(language.tokenizer)


def _form(checkpoint: Checkpoint) -> Family:
    """The family in whose form the model is written: its own, if that can express it.

    A DistilBERT or ELECTRA with another classification head than the library's becomes a BERT, which
    computes the same with BERT's head.
    """
    family, body = checkpoint.family, checkpoint.body_settings()
    eps, default = family.layer_norm_eps
    fits = _pooler(checkpoint) in (None, family.pooler_activation)
    fits = fits and (eps or body["layer_norm_eps"] == default)
    is_alone = family is ROBERTA or family.is_modern
    return family if fits or is_alone else BERT


def _pooler(checkpoint: Checkpoint) -> str | None:
    """The activation of the heads of tasks; None: there are none, or they have none."""
    heads = task_heads(checkpoint.state)
    if not any(len(checkpoint.family.head_modules(head)) > 1 for head in heads):
        return None
    return checkpoint.head_settings()["pooler_activation_fn"]


def _check(checkpoint: Checkpoint, body: Path, family: Family) -> None:
    """Refuse what the library's model of the family cannot express."""
    if any(is_module_part(name) for name in checkpoint.state):
        raise InputError(
            f"{body} has a task module inside, which the library's {family.name} has not: give the "
            "body that it was trained over, and a module that merges with --module"
        )
    heads = task_heads(checkpoint.state)
    if unknown := [head for head in heads if not family.is_known_there(head)]:
        raise InputError(
            f"{body} has the head of a task ({', '.join(unknown)}) that the library's {family.name} "
            "does not have: export the body that it was fine-tuned from, or use this one here "
            "(evaluate, load)"
        )
    if family.is_modern and len(heads) > 1:
        raise InputError(
            f"{body} has the heads of several tasks ({', '.join(heads)}), and the library's "
            f"{family.name} has one: fine-tune the body for each task in a run of its own, and export "
            "what each has written"
        )
    activation = checkpoint.body_settings()["activation_fn"]
    activations = [("activation_fn", activation, family.fixed[family.activation_there], "MLM")]
    if pooler := _pooler(checkpoint):
        only = family.pooler_activation
        activations.append(("pooler_activation_fn", pooler, only, "classification"))
    for setting, found, only, head in activations:
        if found != only:
            raise InputError(
                f"{body} has {setting} {found}, and the {head} head of the library's {family.name} has "
                f"{only} and nothing else: it cannot be exported"
            )


def _classes(
    checkpoint: Checkpoint, body: Path, labels: Path | None, known: Sequence[str] | None
) -> tuple[str, list[str]]:
    """Name of the classification head, and the labels of that or of tags in order; none without any.

    Args:
        labels: dict.txt of them; known: those that the model names itself.
    """
    task = checkpoint.config.get("task", {})
    head, labelled = head_name(task), [one for one in KINDS.values() if one.record == LABELS]
    kind = next((one for one in labelled if one.has_head(checkpoint.state, task)), None)
    if kind is None:
        return head, []
    rows = width = checkpoint.state[EMBEDDING].size(1)
    if kind.name == CLASSIFICATION:
        rows = checkpoint.state[f"{CLASSIFICATION_HEADS}{head}.dense.weight"].size(0)
    if rows != width:
        raise InputError(
            f"the classification head of {body} is {rows} wide and the body {width}, which the "
            f"library's {checkpoint.family.name} cannot have"
        )
    if known and not labels:
        return head, list(known)
    record = find_record(checkpoint, labels, kind)
    return head, kind.solver(str(body), checkpoint, record, {}).classes


def _converted(checkpoint: Checkpoint, head: str, more: int, family: Family) -> StateDict:
    """The tensors under the library's names, in float32; those of token type 0 are zero.

    Args:
        head: the name of the classification head.
        more: symbols to add, which are read as <unk> and never predicted.
        family: in whose form.
    """
    state = dict(checkpoint.state)
    names = family.names_there(range(checkpoint.layers)) | family.head_names_there(head)
    if more:
        unknown = state[EMBEDDING][UNK].expand(more, -1)
        state[EMBEDDING] = torch.cat([state[EMBEDDING], unknown])
        state[OUTPUT_BIAS] = torch.cat([state[OUTPUT_BIAS].float(), torch.full((more,), NEVER)])
    if family.has_positions:
        second = state[POSITIONS][[SECOND_TEXT]].float()
        state[POSITIONS] = state[POSITIONS][POSITION_OFFSET - family.position_offset :]
    theirs = {
        there: state[here].float().contiguous().clone()
        for here, there in names.items()
        if here in state
    }
    if family.is_modern and task_heads(checkpoint.state):
        # a ModernBERT's stands where the MLM head would; a EuroBERT's is as large as the embeddings
        del theirs[family.bias_there or family.projection_there]
    theirs = join(theirs, family)
    if not family.token_types_there:
        return theirs
    types = torch.zeros_like(second)
    if family.has_second_text:
        types = torch.cat([types, second * checkpoint.family.has_second_text])
    return theirs | {family.token_types_there: types}


def _config(
    checkpoint: Checkpoint,
    language: LanguagePack,
    vocabulary: int,
    classes: list[str],
    family: Family,
) -> dict[str, object]:
    """The content of config.json; `vocabulary`: its size."""
    body, model = checkpoint.body_settings(), checkpoint.model_config
    byte_level = language.tokenizer.name == FAST_TOKENIZER_FILE
    model_type = family.byte_level_type if byte_level else family.pieces_type
    task = checkpoint.config.get("task", {})
    tasks = [
        kind.architecture
        for kind in KINDS.values()
        if kind.architecture and kind.has_head(checkpoint.state, task)
    ]
    if family.is_modern and len(tasks) > 1:
        tasks.remove(KINDS[MASKED].architecture)
    rates = {
        theirs: default if model.get(ours) is None else float(model[ours])
        for ours, (theirs, default) in family.rates.items()
    }
    eps, embedding = family.layer_norm_eps[0], family.embedding_size_there
    types = 1 + family.has_second_text
    numbered = {str(index): label for index, label in enumerate(classes)}
    labels = {"id2label": numbered, "label2id": {name: int(i) for i, name in numbered.items()}}
    return {
        "architectures": [f"{family.model_types[model_type].classes}{task}" for task in tasks],
        "model_type": model_type,
        **{theirs: body[ours] for ours, theirs in family.sizes.items()},
        **rates,
        family.activation_there: family.fixed[family.activation_there],
        **({eps: body["layer_norm_eps"]} if eps else {}),
        **modern_config(body | checkpoint.head_settings(), family),
        **({embedding: body["encoder_embed_dim"]} if embedding else {}),
        family.dimensions["V"]: vocabulary,
        family.dimensions["P"]: body["max_positions"] + family.position_offset,
        **({"type_vocab_size": types} if family.token_types_there else {}),
        "bos_token_id": BOS,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        **({"cls_token_id": BOS, "sep_token_id": EOS} if family.is_modern else {}),
        **({} if family.is_tied else {"mask_token_id": language.symbols.index(MASK_SYMBOL)}),
        **(labels if classes else {}),
    }
