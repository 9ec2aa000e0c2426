"""Meta-training of task modules on labelled examples: a start for few-shot classification."""

import copy
from dataclasses import dataclass

import numpy as np
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask, register_task
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from omegaconf import DictConfig, open_dict

from ..errors import InputError
from ..kinds.classification import LABELS
from ..vocabulary.tokenizers import read_dictionary
from .episodes import Episodes
from .lengths import too_long, ways_out
from .meta_training import (
    MetaTraining,
    MetaTrainingConfig,
    check_settings,
    check_size,
    read_shared_dictionary,
)


@dataclass
class MetaSentencePredictionConfig(MetaTrainingConfig, SentencePredictionConfig):
    pass


class _Classification(FairseqTask):
    """fairseq's `sentence_prediction`, over several folders with labels of their own."""

    def __init__(
        self, cfg: MetaSentencePredictionConfig, tasks: dict[str, SentencePredictionTask]
    ) -> None:
        super().__init__(cfg)
        self.tasks = tasks
        first = next(iter(tasks.values()))
        self.dictionary: Dictionary = first.source_dictionary
        self.label_dictionary: Dictionary = first.label_dictionary

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    target_dictionary = source_dictionary

    def max_positions(self) -> int:
        return self.cfg.max_positions

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False) -> BaseFairseqModel:
        with open_dict(cfg):
            cfg.max_positions = self.cfg.max_positions
        model = super().build_model(cfg, from_checkpoint)
        model.register_classification_head(
            self.cfg.classification_head_name, num_classes=self.cfg.num_classes
        )
        return model


@register_task("meta_sentence_prediction", dataclass=MetaSentencePredictionConfig)
class MetaSentencePredictionTask(MetaTraining, _Classification):
    """Classification over several tasks, each a folder of labelled examples with labels of its own.

    The head has `--num-classes` outputs, as many as the task with the most labels; it is part of the
    shared start, and the inner steps adapt it too, since what its outputs mean differs among tasks.
    """

    cfg: MetaSentencePredictionConfig
    name = "meta_sentence_prediction"
    head_is_adapted = True

    @classmethod
    def setup_task(
        cls, cfg: MetaSentencePredictionConfig, **unused: object
    ) -> "MetaSentencePredictionTask":
        """Read the vocabulary, which all tasks must share, and the labels of each.

        Raises:
            InputError: they do not share it, --num-classes is not the most labels of a task, or a
                setting is out of range.
        """
        check_settings(cfg)
        if cfg.regression_target:
            raise InputError("the task meta_sentence_prediction does not take --regression-target")
        dictionary = read_shared_dictionary(cfg, "input0/dict.txt", "prepare-classification")
        dictionary.add_symbol("<mask>")
        tasks, most = {}, 0
        for folder in utils.split_paths(cfg.data):
            path, own = f"{folder}/{LABELS}", copy.copy(cfg)
            own.data, most = folder, max(most, len(read_dictionary(path)))
            labels = SentencePredictionTask.load_dictionary(path)
            tasks[folder] = SentencePredictionTask(own, dictionary, labels)
        if cfg.num_classes != most:
            raise InputError(
                f"--num-classes {cfg.num_classes}, and the task with the most labels has {most}: give "
                f"--num-classes {most}"
            )
        return cls(cfg, tasks)

    def load_dataset(self, split: str, combine: bool = False, **unused: object) -> None:
        """Episodes of a split.

        Raises:
            InputError: a task has too few examples for one, or examples that are too long.
        """
        cfg, datasets = self.cfg, []
        for folder, task in self.tasks.items():
            examples = task.load_dataset(split, combine)
            check_size(cfg, split, len(examples), f"{folder} has {len(examples)} examples")
            everything = np.arange(len(examples))
            over = too_long(f"{folder}/{split}", examples, everything, cfg.max_positions)
            if over:
                raise InputError(
                    f"{over} are in items longer than the {over.limit} tokens that this run takes (the "
                    f"longest has {over.longest}): {ways_out(self, [over])}"
                )
            datasets.append(examples)
        self.datasets[split] = Episodes(datasets, cfg.meta_support, cfg.meta_query, cfg.seed)
