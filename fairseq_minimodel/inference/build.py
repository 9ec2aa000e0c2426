"""A model ready to predict, from a checkpoint and a vocabulary alone, and where it predicts."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..bodies.checkpoint import Checkpoint
from ..bodies.identity import encode
from ..bodies.language_side import LanguageSide
from ..bodies.surgery import head_layers
from ..errors import InputError
from ..kinds.batches import Batches
from ..models.config import dictionary_of, model_class
from ..models.minimodel_roberta import MiniModelRoberta
from ..modules.method import NONE
from ..modules.registry import find_method
from ..nn import cpu
from ..packs.module import TASK_BODY
from ..vocabulary.symbols import fingerprint


def build_model(
    checkpoint: Checkpoint, symbols: Sequence[str], batches: Batches | None = None
) -> MiniModelRoberta:
    """The checkpoint's model in evaluation mode, with its classification heads and its task module.

    Needs neither the data that the checkpoint was trained on nor its configuration of a task.

    Args:
        symbols: the vocabulary, one symbol for each row of the embedding.
        batches: where it computes, and how exactly; None: on the CPU, in float32.
    """
    kind = model_class(checkpoint.family)
    config = OmegaConf.structured(kind.config_class)
    config.update({**checkpoint.body_settings(), **checkpoint.sentence_settings()})
    config.update(find_method(checkpoint.model_config).settings())
    middle_heads = head_layers(checkpoint)[:-1]
    config.auxiliary_head_layers = ",".join(map(str, middle_heads))
    config.load_checkpoint_heads = True
    config.update(checkpoint.head_settings())
    task = SimpleNamespace(source_dictionary=dictionary_of(symbols))
    # a task module that is named, but not in the checkpoint, is as at the start of training
    is_complete = config.task_module == NONE or TASK_BODY in checkpoint.state
    with _Unfilled() if is_complete else nullcontext():
        model = kind.build_model(config, task)
    try:
        model.load_state_dict(dict(checkpoint.state), strict=True)
    except RuntimeError as error:
        reason = (str(error).split("\n")[1:2] or [str(error)])[0].strip()[:200]
        raise InputError(
            f"{checkpoint.path} is not a complete {kind.name} ({reason}): it is damaged, or of "
            f"another form of {checkpoint.family.name}"
        ) from None
    if batches:
        model.to(batches.device, torch.bfloat16 if batches.bfloat16 else torch.float32)
    return model.eval()


_RANDOM = (
    Tensor.normal_, Tensor.uniform_,
    nn.init.normal_, nn.init.uniform_, nn.init.xavier_uniform_, nn.init.kaiming_uniform_,
)  # fmt: skip


class _Unfilled(TorchFunctionMode):
    """Leaves new tensors as they are: filling XLM-R's at random takes seconds, and all are loaded."""

    def __torch_function__(
        self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        if function in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def in_another_language(
    model: MiniModelRoberta, side: LanguageSide, symbols: Sequence[str]
) -> MiniModelRoberta:
    """A model of its own with another language, over the same body in memory.

    All tensors are those of `model`, but for the language side: its tensors are taken as they are,
    where they have the device and the type of the body.

    Args:
        symbols: of the language, one for each row of the embedding.
    """
    encoder = model.encoder
    former = {name: model.get_parameter(name) for name in side.tensors}
    tensors = {name: tensor.to(former[name]) for name, tensor in side.tensors.items()}
    shared = (*model.parameters(), *model.buffers(), model.args)
    # What deepcopy finds here it takes instead of making a copy.
    instead = {id(one): one for one in shared} | {
        **{id(former[name]): nn.Parameter(tensor) for name, tensor in tensors.items()},
        id(encoder.vocabulary): encode(fingerprint(symbols)).to(encoder.vocabulary),
        id(encoder.dictionary): dictionary_of(symbols),
    }
    other = copy.deepcopy(model, instead)
    other.encoder.sentence_encoder.embed_tokens.num_embeddings = len(symbols)
    return other


def ready_device(name: str | None) -> str:
    """The device to predict on; for a CPU the settings of the process are made, see `nn/cpu.py`.

    Args:
        name: as PyTorch calls it ("cuda:1"); None: a GPU if there is one.

    Raises:
        InputError: there is no such device, or it cannot be used here.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device).cpu()  # back, too: the device "meta" has no values
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).split("\n")[0].split(". ")[0][:120]
        raise InputError(
            f"--device {device} cannot be used here ({reason}); give cpu, or leave it out to take a "
            "GPU if there is one"
        ) from None
    if torch.device(device).type == "cpu":
        cpu.prepare_process()
    return device
