"""What the tasks have in common whose examples are windows of text, prepared with their targets."""

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
from fairseq.tasks import FairseqTask
from omegaconf import II, MISSING

from ..errors import InputError
from ..kinds.window_options import WINDOWS


@dataclass
class WindowsConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "folder of prepared data"})
    max_positions: int = field(
        default=512,
        metadata={"help": "positions of the model, in tokens; no window may be longer"},
    )
    seed: int = II("common.seed")


class WindowsTask(FairseqTask):
    """Windows, and a target for each.

    Attributes:
        targets: folder of the targets, beside that of the windows.
        verb: of this package, which prepares the data.
    """

    cfg: WindowsConfig
    targets: str
    verb: str

    def __init__(self, cfg: WindowsConfig, dictionary: Dictionary) -> None:
        super().__init__(cfg)
        self.dictionary = dictionary

    @classmethod
    def setup_task(cls, cfg: WindowsConfig, **unused: object) -> "WindowsTask":
        """Read the dictionary from the data folder, or from the folder of a plugged model.

        Raises:
            InputError: there is none.
        """
        path = Path(cfg.data, "dict.txt")
        if not path.is_file():
            raise cls.missing(path)
        dictionary = Dictionary.load(str(path))
        dictionary.add_symbol("<mask>")
        return cls(cfg, dictionary)

    def load_dataset(self, split: str, combine: bool = False, **unused: object) -> None:
        """Windows of a split, ordered by length.

        Raises:
            InputError: there is no such split, or a window is longer than the model.
        """
        windows, targets = (self._load(name, split, combine) for name in (WINDOWS, self.targets))
        longest = int(windows.sizes.max())
        if longest > self.cfg.max_positions:
            raise InputError(
                f"{self.cfg.data} has windows of {longest} tokens in the split {split}, and the "
                f"model has {self.cfg.max_positions} positions: prepare the data with --max-length "
                f"{self.cfg.max_positions}, or give a model of more positions and --max-positions"
            )
        self.check_targets(Path(self.cfg.data, self.targets, split), targets, windows.sizes)
        padding = self.dictionary.pad()
        examples = NestedDictionaryDataset(
            {
                "id": IdDataset(),
                "net_input": {
                    "src_tokens": RightPadDataset(windows, padding),
                    "src_lengths": NumelDataset(windows),
                },
                "target": RightPadDataset(targets, padding),
                "nsentences": NumSamplesDataset(),
                "ntokens": NumelDataset(windows, reduce=True),
            },
            sizes=[windows.sizes],
        )
        with data_utils.numpy_seed(self.cfg.seed):
            shuffle = np.random.permutation(len(windows))
        self.datasets[split] = SortDataset(examples, sort_order=[shuffle, windows.sizes])

    def check_targets(self, path: Path, targets: FairseqDataset, sizes: np.ndarray) -> None:
        """Refuse targets that do not fit their windows, of `sizes` tokens, with an `InputError`."""

    def _load(self, name: str, split: str, combine: bool) -> FairseqDataset:
        path = Path(self.cfg.data, name, split)
        dictionary = self.dictionary if name == WINDOWS else None  # targets are not symbols
        dataset = data_utils.load_indexed_dataset(str(path), dictionary, combine=combine)
        if dataset is None:
            raise self.missing(path.with_suffix(".bin"))
        return dataset

    @classmethod
    def missing(cls, path: Path) -> InputError:
        return InputError(f"there is no {path}: make it with fairseq-minimodel {cls.verb}")

    def max_positions(self) -> int:
        return self.cfg.max_positions

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dictionary
