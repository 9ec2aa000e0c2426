"""Extractive question answering: which part of a text answers a question."""

from dataclasses import dataclass, field

from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import MISSING, DictConfig

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
