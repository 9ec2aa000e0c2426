"""The heads that fine-tuned models of Hugging Face bring: classification, answers, tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..bodies.family import Family
from ..bodies.language_side import StateDict
from ..bodies.weights import AGAIN, check_weights
from ..errors import InputError
from ..files.records import shown
from ..kinds import CLASSIFICATION, LABELS, SPAN, SPAN_HEAD, TAG_HEAD, TAGS
from ..kinds.classification import DEFAULT_HEAD
from ..kinds.kind import Kind
from ..kinds.registry import KINDS
from ..vocabulary.symbols import SPECIAL_SYMBOLS
from ..vocabulary.tokenizers import BOS, EOS
from .added_tokens import read_settings

JSON = Mapping[str, object]
# Of each kind, as `Family.head_modules` takes it.
HEADS = {SPAN: SPAN_HEAD, CLASSIFICATION: DEFAULT_HEAD, TAGS: TAG_HEAD}
CLASSES = {SPAN: 2}  # outputs: a first and a last token; those of others are free
ONE_LABEL = "single_label_classification"  # the `problem_type` of one label for each text
SEPARATORS = {"BertProcessing": 1, "RobertaProcessing": 2}  # between two texts, by the step's name
MASKED_LM = "ForMaskedLM"
UNTRAINED = ("", "ForPreTraining")  # ends of classes without the head of a task
NAMED_BY_TENSORS = [KINDS[name].architecture for name in (SPAN, CLASSIFICATION)]


@dataclass(frozen=True)
class Heads:
    """The heads of tasks that a model has.

    Attributes:
        state: their tensors, under the names here, in float32.
        kind: of the task that the model was fine-tuned for; None: it has no head that is known here.
        labels: of the classes, in order.
        notes: what there is to say.
    """

    state: StateDict = field(default_factory=dict)
    kind: Kind | None = None
    labels: Sequence[str] = ()
    notes: Sequence[str] = ()

    def settings(self, tokenizer: Path, positions: int, family: Family) -> dict[str, object]:
        """Those of fairseq's task, with which its own tools load the body.

        Args:
            tokenizer: tokenizer.json of the model, if it has one.
            positions: of the body.
        """
        settings = {"_name": next(iter(self.kind.tasks)), "max_positions": positions}
        if self.kind.name != CLASSIFICATION:
            return settings
        first, between = _tokens_around(tokenizer, family)
        return settings | {
            "num_classes": len(self.labels),
            "classification_head_name": DEFAULT_HEAD,
            "init_token": first,
            "separator_token": between,
            "regression_target": False,
        }


def take_heads(theirs: StateDict, config: JSON, family: Family, model: Path) -> Heads:
    """The heads of tasks in the tensors of a model, which are taken out of `theirs`.

    A head for another kind of task (choices), for numbers, or for several labels of one text
    stays there, and a note says so.

    Raises:
        InputError: a head is damaged, or does not fit config.json.
    """
    path, classes = model / "config.json", config.get("architectures") or []
    if not isinstance(classes, list) or any(type(one) is not str for one in classes):
        raise InputError(f"{path} has the architectures {shown(classes)}, which are names; {AGAIN}")
    ends = ["".join(one.partition("For")[1:]) for one in classes]
    state: StateDict = {}
    kinds, labels, notes = {}, [], []
    shared = _names_shared_with_mlm(family)
    by_tensors = [] if shared else NAMED_BY_TENSORS
    ours = [KINDS[name] for name, head in HEADS.items() if family.is_known_there(head)]
    for kind in ours:
        names = _names(kind, family)
        lost = [there for there in names.values() if there not in theirs]
        if kind.architecture in ends and lost:
            raise InputError(
                f"{path} says that the model is a {classes[ends.index(kind.architecture)]}, and its "
                f"weights lack {lost[0]}; {AGAIN}"
            )
        # in some families tags have the name of a part of another head: config.json must tell
        if lost or kind.architecture not in (ends or by_tensors):
            continue
        outputs = _check_shapes(theirs, kind, family, config[family.dimensions["d"]], model)
        if kind.name == CLASSIFICATION and (reason := _other_task(config, outputs)):
            notes.append(f"its classification head is left out, as {reason}")
            continue
        if kind.record == LABELS:
            labels = _labels(config, outputs, path)
        kinds[kind.architecture] = kind
        state |= {here: theirs.pop(there).float() for here, there in names.items()}
    known = {MASKED_LM, *(kind.architecture for kind in ours)}
    notes += [
        f"the head of {name} is left out, as heads of its kind are not read"
        for name, end in zip(classes, ends, strict=True)
        if end not in known and end not in UNTRAINED
    ]
    if family.bias_there not in theirs and MASKED_LM not in ends:  # what is left is of no MLM head
        for there in shared:
            theirs.pop(there, None)
    first = next((kinds[end] for end in [*ends, *kinds] if end in kinds), None)
    return Heads(state, first, labels, notes)


def _names(kind: Kind, family: Family) -> dict[str, str]:
    """The tensors of the head of a kind: their names here to those there."""
    return {one.here: one.there for one in family.head_parameters(HEADS[kind.name])}


def _names_shared_with_mlm(family: Family) -> set[str]:
    """The names there that heads of tasks and the MLM head have in common."""
    of_tasks = set(family.head_names_there(DEFAULT_HEAD).values())
    return of_tasks & set(family.names_there([]).values())


def _check_shapes(theirs: StateDict, kind: Kind, family: Family, width: int, model: Path) -> int:
    """The number of outputs of a head. Refuses tensors that are not those of one."""
    parameters = list(family.head_parameters(HEADS[kind.name]))
    tensors = {one.there: theirs[one.there] for one in parameters}
    check_weights(model, tensors, AGAIN, finite=False)
    outputs = next((*tensors[one.there].shape, 0)[0] for one in parameters if one.shape == "cd")
    sizes = {"d": width, "c": outputs}
    for one in parameters:
        there, expected = one.there, tuple(sizes[letter] for letter in one.shape)
        if tuple(tensors[there].shape) != expected or outputs != CLASSES.get(kind.name, outputs):
            raise InputError(
                f"{there} of {model} has the shape {tuple(tensors[there].shape)}, which is not that of "
                f"a head for {kind.pipeline} of a model that is {width} wide; {AGAIN}"
            )
    return outputs


def _other_task(config: JSON, outputs: int) -> str:
    """Why a classification head is not one for one label of several; "": it is."""
    problem = config.get("problem_type") or ONE_LABEL
    if problem != ONE_LABEL:
        return f"its problem_type is {shown(problem)}, and classification here gives one label"
    return "it has one output, and so gives a number, not a label" if outputs == 1 else ""


def _labels(config: JSON, outputs: int, path: Path) -> list[str]:
    """The names of the classes; as the library has it, LABEL_0 and so on where there are none."""
    named = config.get("id2label")
    if named is None:
        return [f"LABEL_{number}" for number in range(outputs)]
    numbers = [str(number) for number in range(outputs)]
    if not isinstance(named, dict) or sorted(named) != sorted(numbers):
        raise InputError(
            f"{path} has labels (id2label) that are not those of the {outputs} classes of its head, "
            f"numbered from 0; {AGAIN}"
        )
    labels, seen = [named[number] for number in numbers], set(SPECIAL_SYMBOLS)
    for label in labels:
        if not isinstance(label, str) or label in seen or not _fits_a_line(label):
            raise InputError(
                f"{path} has the label {shown(label)} (id2label): labels are different texts of one "
                "line, and none is a special symbol of fairseq; give it another name there"
            )
        seen.add(label)
    return labels


def _fits_a_line(text: str) -> bool:
    return bool(text) and text.isprintable() and text == text.strip()


def _tokens_around(tokenizer: Path, family: Family) -> tuple[int | None, int | None]:
    """The token before the first of two texts, and the one before the second; None: there is none.

    fairseq puts </s> behind each text besides. Where there is no tokenizer.json, or nothing in it, they
    are those of the tokenizers of the family.

    Raises:
        InputError: the file is damaged.
    """
    separators, first = family.pair_separators, BOS
    step = read_settings(tokenizer).get("post_processor")
    try:
        for one in _steps(step):
            if one["type"] in SEPARATORS:
                separators = SEPARATORS[one["type"]]
            elif one["type"] == "TemplateProcessing":
                texts = ["Sequence" in part for part in one["pair"]]
                first = None if texts[0] else BOS
                separators = texts[texts.index(True) + 1 :].index(True)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{tokenizer} is damaged (post_processor: {error!r}); {AGAIN}") from None
    return first, EOS if separators > 1 else None


def _steps(step: dict | None) -> list[dict]:
    """A step of a tokenizer.json, or those that it is a sequence of."""
    if step is None:
        return []
    return step["processors"] if step["type"] == "Sequence" else [step]
