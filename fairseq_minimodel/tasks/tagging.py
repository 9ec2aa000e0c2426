"""Tags of words: named entities, parts of speech."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fairseq.data import FairseqDataset
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from omegaconf import MISSING, DictConfig

from ..errors import InputError
from ..kinds import LABELS, TAG_HEAD
from ..kinds.window_options import TAG_CLASSES
from ..vocabulary.tokenizers import SPECIAL_SYMBOLS, read_dictionary
from .architecture import check_architecture
from .windows import WindowsConfig, WindowsTask


@dataclass
class TaggingConfig(WindowsConfig):
    data: str = field(default=MISSING, metadata={"help": "folder that prepare-tags made"})


@register_task("tagging", dataclass=TaggingConfig)
class TaggingTask(WindowsTask):
    """A tag for the first token of each word (Devlin et al. 2019, section 5.3).

    An example is a window (`corpus/tags.py`); the target has as many places: the id of a tag, or
    <pad>'s where no word begins that is asked about.
    """

    targets, verb = TAG_CLASSES, "prepare-tags"

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the model, with a head for as many tags as the data have.

        Raises:
            InputError: it is another model than `minimodel_roberta`, or there are no labels.
        """
        check_architecture("tagging", cfg)
        labels = Path(self.cfg.data, LABELS)
        if not labels.is_file():
            raise self.missing(labels)
        model = super().build_model(cfg, from_checkpoint)
        model.register_token_head(TAG_HEAD, len(read_dictionary(labels)))
        return model

    def check_targets(self, path: Path, targets: FairseqDataset, sizes: np.ndarray) -> None:
        """Refuse tags that are none, or not one for each token, with an `InputError`."""
        first = len(SPECIAL_SYMBOLS)
        after = first + len(read_dictionary(Path(self.cfg.data, LABELS)))
        for index, size in enumerate(sizes):
            tags = targets[index]
            is_tag = tags.eq(self.dictionary.pad()) | (tags.ge(first) & tags.lt(after))
            if len(tags) != size or not is_tag.all():
                raise InputError(
                    f"{path}.bin is damaged: window {index:,} of {size} tokens has other tags than the "
                    "data have; make it again with fairseq-minimodel prepare-tags"
                )
