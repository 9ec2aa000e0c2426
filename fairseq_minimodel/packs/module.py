"""A task module: the folder in which a task is kept, apart from the body that it was learned over.

module.safetensors   the module's own parameters; of masks, their bits
module.json          what the module is, and the body that it belongs to
label/dict.txt       for classification and tags: the labels, in the order of the classes
windows.json         for questions: the windows of the training data, where that is known
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from .. import __version__
from ..bodies.checkpoint import Checkpoint
from ..bodies.families import ROBERTA
from ..bodies.family import Family
from ..bodies.identity import decode, lineage_of
from ..bodies.language_side import StateDict, is_language_side
from ..bodies.settings import TaskSettings
from ..bodies.tensors import (
    BODY,
    CLASSIFICATION_HEAD,
    EMBEDDING_NORM,
    ENCODER,
    LAYERS,
    TASK_BODY,
    is_head,
)
from ..bodies.training_files import find_record
from ..bodies.weights import check_weights, read_safetensors
from ..errors import InputError
from ..files.atomic import atomic_folder
from ..files.outputs import FolderForm
from ..files.records import parse_json, read_record, record, shown
from ..kinds import CLASSIFICATION_HEADS, LABELS, TOKEN_HEADS, output_weight
from ..kinds.classification import read_labels
from ..kinds.registry import RECORDS, kind_of
from ..modules.mask import fixed_weights
from ..modules.method import OUTPUT, PATHS, SHARED, Method, is_module_part, option
from ..modules.registry import METHODS, Settings, find_method, with_saved_targets

NO_BODY = "0" * 16
TASK_SETTINGS = f"{BODY}task_settings"  # buffer: the module's settings (`encode_settings`)

WEIGHTS = "module.safetensors"
DESCRIPTION = "module.json"
MODULE = FolderForm("a task module", (WEIGHTS, DESCRIPTION), RECORDS)
HEAD_LAYERS = ("dense", "out_proj")  # of a classification head
MOST_OUTPUTS = 10_000  # of a head
FORMAT = 2  # 1: of version 0.1.0, with other cells, and other heads under masks
AGAIN = "make the module again with `fairseq-minimodel module`"


@dataclass(frozen=True)
class Description:
    """What module.json holds.

    Attributes:
        settings: of the method, its name among them, by the names of their options.
        lineage: identifier of the family of bodies (`bodies/identity.py`).
        body: digest of the one body that the module was trained over.
        layers, width: of that body.
        parameters: how many the module has; of masks, their elements.
        heads: number of outputs of each of the task's heads.
        pooler_activation_fn: of classification heads; classifier_pooling: what they read, where that
            is a setting.
        task: settings of fairseq's task, without its folders.
        updates: optimiser steps of the training.
        versions: of the software that made it.
        tensors: the shape of each tensor in the other file; modules of version 0.1.0 have none.
        format: `FORMAT`; modules of version 0.1.0 do not have it.
    """

    settings: dict[str, object]
    lineage: str
    body: str
    layers: int
    width: int
    parameters: int
    heads: dict[str, int]
    pooler_activation_fn: str
    task: dict[str, object]
    updates: int
    versions: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, list[int]] = field(default_factory=dict)
    format: int = 1
    classifier_pooling: str | None = None

    @property
    def head_settings(self) -> dict[str, str]:
        """Those that the heads are made by (`Checkpoint.head_settings`)."""
        found = {
            name: getattr(self, name) for name in ("pooler_activation_fn", "classifier_pooling")
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class TaskModule:
    """The parameters of a task, what is known of them, and where they were read from."""

    description: Description
    tensors: StateDict
    folder: Path

    @property
    def method(self) -> Method:
        return find_method(self.description.settings)

    @property
    def record(self) -> Path | None:
        """What its kind of task needs beside the head (`Kind.record`): labels, ...; None: nothing."""
        name = kind_of({"task": self.description.task}).record
        return self.folder / name if name and (self.folder / name).is_file() else None


def is_layer_norm(name: str) -> bool:
    """Whether a parameter belongs to a LayerNorm of the body, the MLM heads' not among them."""
    return name.startswith(ENCODER) and ("layer_norm." in name or name.startswith(EMBEDDING_NORM))


def body_digest(state: StateDict) -> str:
    """16 hexadecimal digits that identify the weights of a body, without its language and heads.

    Two bodies of one lineage have different ones as soon as one was trained further.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        belongs = name.startswith(ENCODER) and not is_language_side(name)
        if belongs and not name.endswith("version"):
            digest.update(name.encode())
            digest.update(state[name].detach().cpu().float().contiguous().numpy())
    return digest.hexdigest()[:16]


def extract(checkpoint: Checkpoint) -> tuple[Description, StateDict]:
    """The task module in a checkpoint that was trained with one.

    Raises:
        InputError: there is none, or it was trained over no body.
    """
    state = checkpoint.state
    if TASK_BODY not in state:
        raise InputError(
            f"{checkpoint.path} was not trained with a task module: give fairseq-train "
            "--task-module, or use the checkpoint as a body"
        )
    body = decode(state[TASK_BODY])
    if body == NO_BODY:
        raise InputError(
            f"{checkpoint.path} was trained over a body that was never loaded, or that meta-training "
            "changed: give fairseq-train --finetune-from-model with a pretrained checkpoint (and in "
            "meta-training --meta-shared module), or use the checkpoint itself as it is"
        )
    method = find_method(checkpoint.model_config, has_gate=checkpoint.family.is_modern)
    heads = task_heads(state)
    own = {name: tensor for name, tensor in state.items() if _is_own(name, method)}
    changed = changed_layers(method, checkpoint.layers, heads, checkpoint.family)
    packed, settings = method.pack(own, list(changed)), checkpoint.head_settings()
    task = dict(checkpoint.config.get("task", {}))
    task.pop("data", None)
    description = Description(
        settings=method.settings(),
        lineage=lineage_of(state),
        body=body,
        layers=checkpoint.layers,
        width=checkpoint.body_settings()["encoder_embed_dim"],
        parameters=sum(tensor.numel() for tensor in own.values()),
        heads=heads,
        pooler_activation_fn=settings["pooler_activation_fn"],
        classifier_pooling=settings.get("classifier_pooling"),
        task=task,
        updates=checkpoint.updates,
        versions={"fairseq_minimodel": __version__, "torch": torch.__version__},
        tensors=_shapes(packed),
        format=FORMAT,
    )
    if method.changes_heads and not _has_fixed_heads(checkpoint, description):
        description = replace(description, format=1)
    return description, packed


def _has_fixed_heads(checkpoint: Checkpoint, description: Description) -> bool:
    """Whether the heads are those that the format says; a run of version 0.1.0 drew others."""
    state = checkpoint.state
    return all(
        torch.allclose(state[name].float(), tensor, atol=1e-3)  # it may be in half precision
        for name, tensor in fixed_heads(description, checkpoint.family).items()
        if name.endswith(".weight")
    )


def encode_settings(method: Method, layers: int) -> Tensor:
    """The buffer for a task module's settings, in a body of so many layers.

    fairseq loads a state dict and nothing else of the checkpoint, so what a run must have in common
    with the one that it goes on from stands in there. JSON, a number for each byte, as floating point
    for the reason that identifiers are (`bodies/identity.py`).
    """
    text = json.dumps(method.resolved(layers))
    return torch.tensor([float(byte) for byte in text.encode()])


def check_settings(found: Tensor, ours: Mapping[str, object]) -> None:
    """Refuse to go on with a module under other settings, with an `InputError`.

    Settings that come to the same, as "1-3" and "" of three layers do, are the same.

    Args:
        found: the buffer (`encode_settings`) of a checkpoint.
        ours: the settings (`Method.resolved`) of the model that loads it.
    """
    where, way_out = f"{TASK_SETTINGS} of the checkpoint", "take another checkpoint"
    theirs = parse_json(bytes(round(byte) % 256 for byte in found.tolist()), where, way_out)
    if not isinstance(theirs, dict):
        raise InputError(f"{where} is damaged: {way_out}")
    other = [name for name in theirs if name in ours and theirs[name] != ours[name]]
    if other:
        then, now = (
            " ".join(f"{option(name)} {settings[name]}" for name in other)
            for settings in (theirs, ours)
        )
        raise InputError(
            f"the task module in the checkpoint was trained with {then}, and this run has {now}: give "
            f"{then} to go on with it; another module needs a plain body (--finetune-from-model) and "
            "a --save-dir of its own"
        )


def refuse_old_cells(owner: str, method: Method, names: Iterable[str]) -> None:
    """Refuse TAMS cells of version 0.1.0, which had one projection down, with an `InputError`.

    Args:
        names: of the tensors of a module or a checkpoint.
    """
    if method.has_structure and any(name.endswith(f"{OUTPUT}.down.weight") for name in names):
        raise InputError(
            f"{owner} has cells of version 0.1.0, in which convolutions have no ReLU; this version "
            "does not read them: train the task module again"
        )


def save_module(folder: str | Path, checkpoint: Checkpoint, labels: str | Path | None) -> None:
    """Write the task module of a checkpoint, replacing a former one at the same place in one step.

    Args:
        labels: dict.txt of the labels, where a head has a class for each; None: that of the training
            data.

    Raises:
        InputError: as in `extract`, or the labels are not there.
    """
    description, tensors = extract(checkpoint)
    kind = kind_of(checkpoint.config)
    record = find_record(checkpoint, labels if kind.record == LABELS else None)
    if kind.record == LABELS:
        _check_labels(record, description, checkpoint.path)
    with atomic_folder(folder, MODULE) as partial:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        safetensors.torch.save_file(contiguous, partial / WEIGHTS)
        if record:
            (partial / kind.record).parent.mkdir(exist_ok=True)
            shutil.copyfile(record, partial / kind.record)
        text = json.dumps(asdict(description), indent=2, ensure_ascii=False)
        (partial / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def load_module(folder: str | Path, *, finite: bool = True) -> TaskModule:
    """Read a task module.

    Args:
        finite: refuse parameters that are NaN or infinite.

    Raises:
        InputError: a file is missing or damaged.
    """
    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} is not a task module: it has no {name}; "
                "make one with `fairseq-minimodel module`"
            )
    description = read_record(folder / DESCRIPTION, Description, AGAIN)
    for head, outputs in description.heads.items():
        if not 1 <= outputs <= MOST_OUTPUTS:
            told = f"is damaged (the head {shown(head)} has {outputs} outputs)"
            raise unfit(folder / DESCRIPTION, told)
    record(description.settings, Settings, f"{folder / DESCRIPTION}, settings", AGAIN)
    record(description.task, TaskSettings, f"{folder / DESCRIPTION}, task", AGAIN, others=True)
    if (folder / LABELS).is_file():
        _check_labels(folder / LABELS, description, folder)
    if description.format not in (1, FORMAT):
        told = f"is of the format {description.format}, and this version reads 1 and {FORMAT}"
        raise unfit(folder / DESCRIPTION, told)
    tensors = read_safetensors(folder / WEIGHTS, AGAIN)
    settings = with_saved_targets(description.settings, tensors)
    description, method = replace(description, settings=settings), find_method(settings)
    refuse_old_cells(str(folder), method, tensors)
    bits = method.bits
    for name in tensors.keys() & set(bits):
        if tensors[name].dtype != torch.uint8 or tensors[name].dim() != 1:
            raise unfit(folder / WEIGHTS, f"is damaged ({name} is not a row of bytes)")
    weights = {name: tensor for name, tensor in tensors.items() if name not in bits}
    check_weights(folder / WEIGHTS, weights, AGAIN, finite=finite)
    told, found = description.tensors, _shapes(tensors)
    if told and told != found:
        name = min(name for name in told | found if told.get(name) != found.get(name))
        reason = f"is not of this module: {DESCRIPTION} and it do not agree on {shown(name)}"
        raise unfit(folder / WEIGHTS, reason)
    return TaskModule(description, tensors, folder)


def unfit(path: Path, reason: str) -> InputError:
    return InputError(f"{path} {reason}; {AGAIN}")


def _shapes(tensors: StateDict) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def _check_labels(path: str | Path, description: Description, owner: Path) -> None:
    name = kind_of({"task": description.task}).head(description.task)
    head = name.removeprefix(CLASSIFICATION_HEADS)
    if head not in description.heads:
        raise unfit(owner, f"has no head {shown(head)}, which its settings name")
    read_labels(path, description.heads[head], str(owner))


def structure_of(module: TaskModule) -> list[int]:
    """The operation that TAMS has chosen for each edge of its cells (`modules/tams.py`).

    Raises:
        InputError: the module has no such cells.
    """
    if not module.method.has_structure:
        having = " or ".join(one.name for one in METHODS.values() if one.has_structure)
        raise InputError(
            f"{module.folder} has no structure that was chosen: it is {module.method.name}, and "
            f"{having} (--task-module) have one"
        )
    prefix = f"{ENCODER}{SHARED}."
    own = {
        name.removeprefix(prefix): tensor
        for name, tensor in module.tensors.items()
        if name.startswith(prefix)
    }
    with torch.device("meta"):  # filled from the module
        structure = module.method.shared_part(module.description.width)
    load_strictly(structure, own, module)
    return structure.chosen()


def load_strictly(part: nn.Module, tensors: StateDict, module: TaskModule) -> None:
    """Load tensors of the module into a part of it that its description tells of."""
    try:
        tensors = {name: tensor.float() for name, tensor in tensors.items()}
        part.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        first = (str(error).split("\n")[1:2] or [str(error)])[0].strip()[:120]
        reason = f"does not hold what {DESCRIPTION} tells of ({first})"
        raise unfit(module.folder / WEIGHTS, reason) from None


def changed_layers(
    method: Method, layers: int, heads: Iterable[str] = (), family: Family = ROBERTA
) -> dict[str, str]:
    """The linear layers whose weights a method computes, in a body of so many layers, in order.

    Args:
        heads: of the task; they come last, where the method changes them.
        family: of the body; it says what heads are made of.

    Returns: their names in a state dict, with the target that each is (`Method.change`).
    """
    found = {
        f"{LAYERS}{number - 1}.{PATHS[target]}": target
        for number in method.layers(layers)
        for target in method.targets()
    }
    for head in heads if method.changes_heads else ():
        names = [one.here for one in family.head_modules(head) if len(one.weight) == 2]
        found |= {name: name.rpartition(".")[2] if "." in name else "" for name in names}
    return found


def fixed_heads(description: Description, family: Family) -> StateDict:
    """The random heads that go with a method that changes them, under their names in a state dict."""
    heads: StateDict = {}
    for head, outputs in description.heads.items():
        sizes = {"d": description.width, "c": outputs}
        shapes = {
            one.here: tuple(sizes[letter] for letter in one.shape)
            for one in family.head_parameters(head)
        }
        matrices = [shape for shape in shapes.values() if len(shape) == 2]
        drawn = iter(fixed_weights(matrices, uniform=description.format == 1))
        for name, shape in shapes.items():
            is_bias = name.endswith("bias")
            plain = torch.zeros(shape) if is_bias else torch.ones(shape)  # of a LayerNorm
            heads[name] = next(drawn) if len(shape) == 2 else plain
    return heads


def _is_own(name: str, method: Method) -> bool:
    """Whether a tensor of a checkpoint is the module's, not the body's."""
    if is_module_part(name):
        return True
    if is_head(name):
        return not method.changes_heads
    return method.trains_layer_norms and is_layer_norm(name)


def task_heads(state: StateDict) -> dict[str, int]:
    """The heads of tasks in a model, and how many outputs each has."""
    heads = {}
    for name in state:
        if (match := CLASSIFICATION_HEAD.match(name)) and name.endswith(".out_proj.weight"):
            heads[match[1]] = state[name].size(0)
        head = name.partition(".")[0]
        if head in TOKEN_HEADS and name == output_weight(head, state):
            heads[head] = state[name].size(0)
    return heads
