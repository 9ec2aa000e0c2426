"""Extractive question answering: which part of a text answers a question."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fairseq.data import FairseqDataset
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import MISSING, DictConfig

from ..errors import InputError
from ..kinds.window_options import SPANS
from .architecture import check_architecture
from .windows import WindowsConfig, WindowsTask


@dataclass
class SpanQAConfig(WindowsConfig):
    data: str = field(default=MISSING, metadata={"help": "folder that prepare-questions made"})


@register_task("span_qa", dataclass=SpanQAConfig)
class SpanQATask(WindowsTask):
    """Finding the first and the last token of an answer in its context (Devlin et al. 2019, 4.2).

    An example is a window (`corpus/questions.py`); the target is the positions of the two tokens in
    it, 0 and 0 where the answer is not in it.
    """

    targets, verb = SPANS, "prepare-questions"

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model, with a head for spans.

        Raises:
            InputError: it is another model than `minimodel_roberta`.
        """
        check_architecture("span_qa", cfg)
        model = super().build_model(cfg, from_checkpoint)
        model.register_span_head()
        return model

    def check_targets(self, path: Path, targets: FairseqDataset, sizes: np.ndarray) -> None:
        """Refuse spans that are not within their windows with an `InputError`."""
        for index, size in enumerate(sizes):
            span = targets[index].tolist()
            if len(span) != 2 or not 0 <= span[0] <= span[1] < size:
                raise InputError(
                    f"{path}.bin is damaged: the answer in window {index:,} is {span}, and the window "
                    f"has {size} tokens; make it again with fairseq-minimodel prepare-questions"
                )
