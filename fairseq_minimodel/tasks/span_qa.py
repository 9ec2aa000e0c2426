"""Extractive question answering: which part of a text answers a question."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fairseq.data import (
    Dictionary,
    FairseqDataset,
    IdDataset,
    NestedDictionaryDataset,
    NumelDataset,
    NumSamplesDataset,
    RightPadDataset,
    SortDataset,
    data_utils,
)
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING, DictConfig

from ..errors import InputError
from ..kinds.window_options import SPANS, WINDOWS
from .architecture import check_architecture


@dataclass
class SpanQAConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "folder that prepare-questions made"})
    max_positions: int = field(
        default=512,
        metadata={"help": "positions of the model, in tokens; no window may be longer"},
    )
    seed: int = II("common.seed")


@register_task("span_qa", dataclass=SpanQAConfig)
class SpanQATask(FairseqTask):
    """Finding the first and the last token of an answer in its context (Devlin et al. 2019, 4.2).

    An example is a window (`corpus/questions.py`); the target is the positions of the two tokens in
    it, 0 and 0 where the answer is not in it.
    """

    cfg: SpanQAConfig

    def __init__(self, cfg: SpanQAConfig, dictionary: Dictionary) -> None:
        super().__init__(cfg)
        self.dictionary = dictionary

    @classmethod
    def setup_task(cls, cfg: SpanQAConfig, **unused: object) -> "SpanQATask":
        """Read the dictionary from the data folder, or from the folder of a plugged model.

        Raises:
            InputError: there is none.
        """
        path = Path(cfg.data, "dict.txt")
        if not path.is_file():
            raise _missing(path)
        dictionary = Dictionary.load(str(path))
        dictionary.add_symbol("<mask>")
        return cls(cfg, dictionary)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model, with a head for spans.

        Raises:
            InputError: it is another model than `minimodel_roberta`.
        """
        check_architecture("span_qa", cfg)
        model = super().build_model(cfg, from_checkpoint)
        model.register_span_head()
        return model

    def load_dataset(self, split: str, combine: bool = False, **unused: object) -> None:
        """Windows of a split, ordered by length.

        Raises:
            InputError: there is no such split, or a window is longer than the model.
        """
        windows, spans = (self._load(name, split, combine) for name in (WINDOWS, SPANS))
        longest = int(windows.sizes.max())
        if longest > self.cfg.max_positions:
            raise InputError(
                f"{self.cfg.data} has windows of {longest} tokens in the split {split}, and the "
                f"model has {self.cfg.max_positions} positions: prepare the data with --max-length "
                f"{self.cfg.max_positions}, or give a model of more positions and --max-positions"
            )
        _check_spans(Path(self.cfg.data, SPANS, split), spans, windows.sizes)
        padding = self.dictionary.pad()
        examples = NestedDictionaryDataset(
            {
                "id": IdDataset(),
                "net_input": {
                    "src_tokens": RightPadDataset(windows, padding),
                    "src_lengths": NumelDataset(windows),
                },
                "target": RightPadDataset(spans, padding),  # two numbers each: nothing is padded
                "nsentences": NumSamplesDataset(),
                "ntokens": NumelDataset(windows, reduce=True),
            },
            sizes=[windows.sizes],
        )
        with data_utils.numpy_seed(self.cfg.seed):
            shuffle = np.random.permutation(len(windows))
        self.datasets[split] = SortDataset(examples, sort_order=[shuffle, windows.sizes])

    def _load(self, name: str, split: str, combine: bool) -> FairseqDataset:
        path = Path(self.cfg.data, name, split)
        dictionary = self.dictionary if name == WINDOWS else None  # spans are not symbols
        dataset = data_utils.load_indexed_dataset(str(path), dictionary, combine=combine)
        if dataset is None:
            raise _missing(path.with_suffix(".bin"))
        return dataset

    def max_positions(self) -> int:
        return self.cfg.max_positions

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dictionary


def _check_spans(path: Path, spans: FairseqDataset, sizes: np.ndarray) -> None:
    """Refuse spans that are not within their windows, of `sizes` tokens, with an `InputError`."""
    for index, size in enumerate(sizes):
        span = spans[index].tolist()
        if len(span) != 2 or not 0 <= span[0] <= span[1] < size:
            raise InputError(
                f"{path}.bin is damaged: the answer in window {index:,} is {span}, and the window has "
                f"{size} tokens; make it again with fairseq-minimodel prepare-questions"
            )


def _missing(path: Path) -> InputError:
    return InputError(f"there is no {path}: make it with fairseq-minimodel prepare-questions")
