"""Several tasks from one body in memory."""

from collections.abc import Mapping, Sequence

import torch

from ..bodies.checkpoint import Checkpoint
from ..kinds import TOKEN_HEADS
from ..models.minimodel_roberta import MiniModelRoberta
from ..packs.module import TaskModule, is_head
from ..packs.plug_module import changed_names, check_fits, check_merges, merged_tensors
from .build import build_model


class SwitchedBody:
    """One body that computes one of several tasks at a time, and changes over without a file.

    In memory are the model, its original weights as far as any of the tasks changes them, and the
    modules as they were saved (of masks, bits). Switching writes the weights of a task into the
    model, which is then as fast as a plain one.

    Args:
        body: the checkpoint that all modules were trained over, perhaps with another language.
        symbols: its vocabulary, one symbol for each row of the embedding.
        modules: by names of your choice; of kinds that merge into weights.

    Raises:
        InputError: a module was trained over another body, or does not merge.
    """

    def __init__(
        self, body: Checkpoint, symbols: Sequence[str], modules: Mapping[str, TaskModule]
    ) -> None:
        for module in modules.values():
            check_merges(module)
            check_fits(body, module)
        self.modules, self.family = dict(modules), body.family
        self.task: str | None = None
        changed = set().union(*(changed_names(body.state, one) for one in modules.values()))
        self.original = {name: body.state[name].clone() for name in changed}
        self.model = build_model(body, symbols)

    def switch(self, task: str) -> MiniModelRoberta:
        """The model, in evaluation mode, with the weights and the head of a task.

        It is the same object every time: a reference to it does not keep the former task.
        """
        module, model = self.modules[task], self.model
        before = set()
        if self.task is not None:
            before = changed_names(self.original, self.modules[self.task])
        state, heads = model.state_dict(), {}
        with torch.no_grad():
            for name in before - changed_names(self.original, module):
                state[name].copy_(self.original[name])
            for name, tensor in merged_tensors(self.original, module, self.family):
                if is_head(name):
                    heads[name] = tensor
                else:
                    state[name].copy_(tensor)
        model.classification_heads.clear()
        for head in TOKEN_HEADS:
            setattr(model, head, None)
        model.args.update(module.description.head_settings)
        for head, outputs in module.description.heads.items():
            if head in TOKEN_HEADS:
                model.register_token_head(head, outputs)
            else:
                model.register_classification_head(head, outputs)
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in heads.items():
                own[name].copy_(tensor)
        self.task = task
        # the heads are new: to where the body is
        return model.to(next(model.parameters()).device).eval()
