"""A model in the form of Hugging Face, as a body and the pack of its language."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path

import torch

from ..bodies.checkpoint import Checkpoint, is_without_training, write_checkpoint
from ..bodies.families import FAMILIES, family_of
from ..bodies.family import Family
from ..bodies.identity import family_mark
from ..bodies.language_side import StateDict, is_language_side
from ..bodies.state import check_state, with_present_names
from ..bodies.surgery import fresh_head
from ..bodies.tensors import (
    EMBEDDING,
    HEAD,
    OUTPUT_BIAS,
    OUTPUT_PROJECTION,
    POSITION_OFFSET,
    POSITIONS,
    SECOND_TEXT,
)
from ..bodies.training_files import identified
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
from ..files.records import read_record, record
from ..kinds import CLASSIFICATION
from ..kinds import LABELS as CLASSES
from ..models.config import masked_lm_config
from ..packs.commands import describe
from ..packs.pack import DICTIONARY, check_language, save_pack, tokenizer_in
from ..packs.pack import PACK as FORM
from ..terminal.progress import waiting
from ..vocabulary.tokenizers import (
    FAST_TOKENIZER_FILE,
    TOKENIZER_FILES,
    Vocabulary,
    tokenizer_file,
    write_dictionary,
)
from .heads import Heads, take_heads
from .hub import local_folder
from .joined import split_joined
from .lineage import Relative, derived, read_relative
from .model_vocabulary import Tokens, ordered_symbols, read_tokens, write_vocabulary
from .modern_settings import read_head_settings, read_modern_settings
from .output_bias import log_frequencies
from .sentence_transformers import read_sentence_settings

BODY, PACK, CONFIG = "body.pt", "pack", "config.json"
INPUT = f"input0/{DICTIONARY}"
WEIGHTS, OLD_WEIGHTS = "model.safetensors", "pytorch_model.bin"
INDEX = "model.safetensors.index.json"
IMPORTED = FolderForm(
    "an imported model",
    (BODY, DICTIONARY),
    (*TOKENIZER_FILES, CLASSES, INPUT, *(f"{PACK}/{name}" for name in (*FORM.marks, *FORM.files))),
    lambda folder: is_without_training(folder / BODY),
)
JSON = dict[str, object]


@dataclass(frozen=True)
class Imported:
    """A model in fairseq's form, in memory.

    Attributes:
        body: its path is that of the folder that it comes from.
        symbols: one for each row of its embedding.
        tokens: its vocabulary.
        moved: whether rows were put into another order.
        heads: of tasks.
        relative: the body that it derives from, whose vocabulary it has; None: not known.
        has_head: whether its MLM head is its own, and not a new one.
        notes: what there is to say.
    """

    body: Checkpoint
    symbols: list[str]
    tokens: Tokens
    moved: bool
    heads: Heads
    relative: Relative | None
    has_head: bool
    notes: list[str]


def import_hf(
    model: Path,
    language: str,
    output: Path,
    text: Sequence[Path] = (),
    like: Path | None = None,
) -> None:
    """Write the folder `output`: body.pt, with its dict.txt and tokenizer, and pack/.

    Of a model that was fine-tuned for classification, tags or questions, body.pt is a body fine-tuned
    for that; label/dict.txt has its labels.

    Args:
        model: folder with config.json, the weights and the tokenizer, or a name on the Hub.
        language: its name, as the user calls it.
        text: for a model without an MLM head: files whose counts of tokens are the new output bias.
        like: a body that the model was made of, whose packs are to fit it.

    Raises:
        InputError: a file is missing or damaged, fairseq cannot express the model, or its token
            embeddings are not those of `like`.
    """
    check_language(language)
    check_folder(output, IMPORTED, model, like)
    found = read_model(local_folder(model), like)
    if text and (like or found.has_head):
        raise InputError(
            f"--text is for models without an MLM head, and {model} has one"
            + (f", that of {like}" if like else "")
            + ": leave --text out"
        )
    if text and not found.body.family.bias_there:
        raise InputError(
            f"--text sets the output bias, and {model} is a {found.body.family.name}, which has none: "
            "leave --text out"
        )
    heads, settings, notes = found.heads, found.body.config, found.notes
    data = {"data": str(output.resolve())}
    settings = {**settings, "task": {**settings["task"], **data}}
    with atomic_folder(output, IMPORTED) as folder:
        if found.relative:
            shutil.copyfile(found.relative.dictionary, folder / DICTIONARY)
            tokenizer = found.relative.tokenizer
            shutil.copyfile(tokenizer, folder / tokenizer_file(tokenizer))
        else:
            write_vocabulary(folder, found.symbols, found.tokens, found.moved, found.body.family)
        state = dict(found.body.state)
        if text:
            vocabulary = Vocabulary(tokenizer_in(folder), folder / DICTIONARY)
            state[OUTPUT_BIAS], count = log_frequencies(vocabulary, len(found.symbols), text)
            notes.append(f"output bias from the counts of {count:,} tokens")
        body = replace(found.body, path=folder / BODY, state=state, config=settings)
        body = identified(body, folder / DICTIONARY)
        write_checkpoint(folder / BODY, body)
        if heads.labels:  # where fairseq's task looks for the dictionaries
            (folder / CLASSES).parent.mkdir()
            write_dictionary(folder / CLASSES, heads.labels, [0] * len(heads.labels))
            if heads.kind.name == CLASSIFICATION:
                (folder / INPUT).parent.mkdir()
                shutil.copyfile(folder / DICTIONARY, folder / INPUT)
        description, side = describe(body, language, found.symbols), body.language_side()
        dictionary, tokenizer = folder / DICTIONARY, tokenizer_in(folder)
        save_pack(folder / PACK, side, description, dictionary, tokenizer)
    if heads.kind:
        notes = [f"head for {heads.kind.pipeline}", *notes]
        if not like:
            notes.append("a lineage of its own (--like BODY, if packs of BODY are to fit)")
    print(
        f"{output}: {BODY}, {body.layers} layers, and {PACK}, {language}, "
        f"{side.vocabulary_size} x {side.width}, lineage {description.lineage}"
        + "".join(f"; {note}" for note in notes)
    )


def read_model(model: Path, like: Path | None = None) -> Imported:
    """A model in Hugging Face's form, as a body of fairseq's form.

    Tensors are kept as they are, in float32, but for the rows of the vocabulary, which get fairseq's
    order (<s>, <pad>, </s>, <unk> first; RoBERTa and XLM-R have it already), and the embedding of
    token types, which fairseq does not have: it is added to the position embeddings. A model without
    an MLM head gets that of `like`, or a new one, drawn as BERT's.

    Arguments and errors as in `import_hf`.
    """
    config = read_record(model / CONFIG, JSON, AGAIN)
    family = _check_config(config, model)
    relative = read_relative(like) if like else None
    with waiting(f"reading {model}"):  # weights are read where they are converted
        theirs = _with_present_names(_read_weights(model), family)
        tokens = read_tokens(model, config["model_type"], family)
        heads = take_heads(theirs, config, family, model)
        state, notes = _converted(theirs, config, family, model)
    has_head = any(name.startswith(HEAD) for name in state)
    if not has_head and not relative:
        # the same for every copy of the model, and so its lineage
        state |= fresh_head(state[EMBEDDING], family, torch.Generator().manual_seed(1))
        notes.append("a new MLM head, as the model has none: train it before it predicts words")
    symbols, order = ordered_symbols(tokens, len(state[EMBEDDING]), model, family)
    for name in filter(is_language_side, state):
        state[name] = state[name][order].contiguous()
    if family.is_tied:
        state[OUTPUT_PROJECTION] = state[EMBEDDING]
    moved = order != sorted(order)
    if moved:
        notes.append("rows of the vocabulary put into fairseq's order")
    state = with_present_names(state | heads.state, family)
    settings = _settings(config, family, model)
    vectors, more = read_sentence_settings(model, settings["model"]["max_positions"])
    settings["model"] |= vectors
    notes += more
    if heads.kind:
        positions = settings["model"]["max_positions"]
        settings["model"] |= read_head_settings(config, family, model / CONFIG)
        settings["task"] = heads.settings(model / FAST_TOKENIZER_FILE, positions, family)
    body = Checkpoint(model, state, settings, 0, family=family)
    if relative:
        body, symbols = derived(body, symbols, relative), list(relative.symbols)
        notes.append(f"lineage of {like}, whose token embeddings it has")
    return Imported(body, symbols, tokens, moved, heads, relative, has_head, [*heads.notes, *notes])


def is_new_head(body: Checkpoint) -> bool:
    """Whether a body has no MLM head, or the one that it got here, and nobody has trained it since."""
    state, family = body.state, body.family
    if family.is_tied:
        gain = state.get(f"{HEAD}layer_norm.weight")
        return gain is None or bool((gain == 1).all())
    found = state.get(OUTPUT_PROJECTION)
    return found is None or torch.equal(found, state[EMBEDDING])


def _check_config(config: JSON, model: Path) -> Family:
    """The family of the model. Refuses what fairseq's model of this family cannot express."""
    path, family = model / CONFIG, family_of(config.get("model_type"))
    if family is None:
        known = ", ".join(kind for one in FAMILIES for kind in one.model_types)
        raise InputError(
            f"{model} is a model of the type {config.get('model_type')!r}; only {known} can be "
            "imported"
        )
    sizes = dict.fromkeys([*family.sizes.values(), *family.dimensions.values()])
    fields = [(name, int) for name in sizes]
    fields += [(name, float | None, default) for name, default in family.rates.values()]
    eps, default = family.layer_norm_eps
    fields += [(eps, float, default)] if eps else []
    record(config, make_dataclass("Config", fields), path, AGAIN, others=True)
    rows = family.dimensions["P"]
    for name in sizes:
        if config[name] < (family.position_offset + 1 if name == rows else 1):
            raise InputError(f"{path} has {name} {config[name]}, which is too small")
    embedding, width = family.embedding_size_there, family.sizes["encoder_embed_dim"]
    if embedding and config.get(embedding) != config[width]:
        raise InputError(
            f"{path} has {embedding} {config.get(embedding)} and {width} {config[width]}: a model "
            "whose token embeddings have another width than its layers cannot be imported"
        )
    heads, width = (family.sizes[name] for name in ("encoder_attention_heads", "encoder_embed_dim"))
    if config[width] % config[heads]:
        raise InputError(
            f"{path} has {heads} {config[heads]}, which does not divide {width} {config[width]}"
        )
    shared = family.sizes.get("encoder_key_value_heads")
    if shared and config[heads] % config[shared]:
        raise InputError(
            f"{path} has {shared} {config[shared]}, which does not divide {heads} {config[heads]}"
        )
    for name, value in family.fixed.items():
        found = config.get(name, value)
        if found != value:
            raise InputError(
                f"{path} has {name} {found!r}, and fairseq's {family.name} has {value!r} and nothing "
                "else: the model cannot be imported"
            )
    if not 0 < config.get(eps, default) < 1:
        raise InputError(f"{path} has {eps} {config[eps]}, which is not between 0 and 1")
    return family


def _read_weights(model: Path) -> StateDict:
    """All tensors of a model, from model.safetensors, its parts, or pytorch_model.bin."""
    names = [name for name in (WEIGHTS, INDEX, OLD_WEIGHTS) if (model / name).is_file()][:1]
    if not names:
        raise InputError(
            f"{model} has neither {WEIGHTS} nor {OLD_WEIGHTS}: give the folder of a complete model"
        )
    if names == [INDEX]:
        names = sorted(set(read_index(model / INDEX).values()))
    state: StateDict = {}
    for path in [model / name for name in names]:
        if path.name == OLD_WEIGHTS:
            part = read_torch(path, what="file of weights")
            if not isinstance(part, dict):
                raise InputError(f"{path} is damaged (it holds no tensors by name); {AGAIN}")
        else:
            part = read_safetensors(path, AGAIN)
        check_finite(path, part, AGAIN)
        state |= part
    return state


def _converted(
    theirs: StateDict, config: JSON, family: Family, model: Path
) -> tuple[StateDict, list[str]]:
    """The state dict under fairseq's names, in float32, and what there is to say about it."""
    count = config[family.sizes["encoder_layers"]]
    names = family.names_there([count - 1])  # first of one layer: the file may say a billion
    of_head = [name for here, name in names.items() if here.startswith(HEAD)]
    has_head = any(name in theirs for name in of_head)
    if all(name in theirs for name in names.values() if has_head or name not in of_head):
        names = family.names_there(range(count))
    if not has_head:
        names = {here: name for here, name in names.items() if name not in of_head}
    for name in names.values():
        if name not in theirs:
            head = " (a part of its MLM head)" if name in of_head else ""
            raise InputError(
                f"the weights of {model} lack {name}{head}: give a model as AutoModelForMaskedLM "
                "saves it"
            )
    types, notes = family.token_types_there, []
    used = {name: theirs[name] for name in (*names.values(), types) if name in theirs}
    check_weights(model, used, AGAIN, finite=False)
    sizes = {letter: config[name] for letter, name in family.dimensions.items()}
    if shared := family.sizes.get("encoder_key_value_heads"):
        heads = family.sizes["encoder_attention_heads"]
        sizes["k"] = sizes["d"] * config[shared] // config[heads]
    shapes = family.shapes(range(count), sizes)
    expected = {name: shapes[here] for here, name in names.items()}
    expected[types] = (*used[types].shape[:1], sizes["d"]) if types in used else ()
    for name, tensor in used.items():
        if tuple(tensor.shape) != expected[name]:
            raise InputError(
                f"{name} of {model} has the shape {tuple(tensor.shape)} and {CONFIG} says "
                f"{expected[name]}: they do not belong together"
            )
    for name, same in family.tied_there.items():
        if name in theirs and same in theirs and not torch.equal(theirs[name], theirs[same]):
            raise InputError(
                f"{name} of {model} is not {same}: the projection of its MLM head is not tied to "
                "the embedding, and fairseq's is"
            )
    state = {here: theirs[name].float() for here, name in names.items()}
    more = POSITION_OFFSET - family.position_offset
    if family.has_positions:
        state[POSITIONS] = torch.cat([torch.zeros(more, sizes["d"]), state[POSITIONS]])
    check_state(model, state, family)
    if types in used and used[types][0].any():
        state[POSITIONS][more:] += used[types][0].float()
        notes.append("embedding of token type 0 added to the position embeddings")
    if family.has_second_text and types in used and len(used[types]) > 1:
        first, second = used[types][:2].float()
        state[POSITIONS][SECOND_TEXT] = second - first
    state |= family_mark(family)
    known = {*used, *family.tied_there}
    left = sorted(name for name in theirs if name not in known and family.ignored_there not in name)
    if left:
        notes.append(f"left out: {', '.join(left[:4])}" + ", ..." * (len(left) > 4))
    return state, notes


def _with_present_names(theirs: StateDict, family: Family) -> StateDict:
    """The tensors as the library calls them today, and ties them."""
    theirs = {family.present_name_there(name): tensor for name, tensor in theirs.items()}
    theirs = split_joined(theirs, family)
    for name, same in family.tied_there.items():
        if name in theirs:
            theirs.setdefault(same, theirs[name])
    return theirs


def _settings(config: JSON, family: Family, output: Path) -> dict:
    """A configuration with which fairseq's own tools load the body."""
    settings = sizes_of(config, family)
    layers = settings["encoder_layers"]
    settings |= read_modern_settings(config, family, layers, output / CONFIG)
    for ours, (theirs, default) in family.rates.items():
        found = config.get(theirs)
        settings[ours] = default if found is None else float(found)
    return masked_lm_config(family, settings, str(output.resolve()), settings["max_positions"])


def sizes_of(config: JSON, family: Family) -> JSON:
    """The sizes of a model by the names of fairseq's options, from its config.json.

    Raises:
        KeyError, TypeError, ValueError: one is missing or not a number.
    """
    eps, usual = family.layer_norm_eps
    sizes = {ours: int(config[theirs]) for ours, theirs in family.sizes.items()}
    sizes["max_positions"] = int(config[family.dimensions["P"]]) - family.position_offset
    return sizes | {"layer_norm_eps": float(config.get(eps, usual))}
