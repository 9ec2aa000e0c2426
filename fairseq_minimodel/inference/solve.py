"""A checkpoint as what its kind of task works on: its head with its record, its model in a language."""

from pathlib import Path

from ..bodies.checkpoint import Checkpoint
from ..bodies.training_files import find_record
from ..kinds.batches import Batches
from ..kinds.kind import Options, Solver, Speaker
from ..kinds.registry import kind_of
from ..kinds.windows import AligningVocabulary
from ..packs.pack import LanguagePack
from ..packs.plug import plug
from .build import build_model


def solver_of(
    name: str, checkpoint: Checkpoint, options: Options, module: Path | None = None
) -> Solver:
    """The head that a body was fine-tuned with.

    Args:
        name: of the body, for messages.
        options: of the kind; its record may be among them.
        module: folder of the task module that the head is from.

    Raises:
        InputError: a record that is needed is not there, or the head does not do what is asked for.
    """
    kind = kind_of(checkpoint.config)
    given = options.get(kind.record_option)
    if module and not given and (module / kind.record).is_file():
        given = module / kind.record
    return kind.solver(name, checkpoint, find_record(checkpoint, given), options)


def speaker_of(checkpoint: Checkpoint, pack: LanguagePack, batches: Batches) -> Speaker:
    """The body in the language of the pack.

    Raises:
        InputError: the pack does not fit the body.
    """
    model = build_model(plug(checkpoint, pack)[0], pack.symbols, batches)
    vocabulary = AligningVocabulary(pack.tokenizer, pack.dictionary)
    return Speaker(model, vocabulary, pack.symbols, batches)
