"""Several language packs, or several task modules over one body, mixed as one classifier."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..kinds.classification import Prediction
from ..kinds.mixture import Mixing, predict_mixed
from ..packs.module import DESCRIPTION as MODULE_FILE
from ..packs.pack import DESCRIPTION as PACK_FILE
from .model import LanguageModel, load


class MixedModel:
    """A model that `load_mixture` reads.

    Attributes:
        name, kind: as of a `LanguageModel`.
        languages: none, since all of them read each text.
    """

    languages = ()

    def __init__(self, models: Sequence[LanguageModel], mixing: Mixing) -> None:
        self.name = ", ".join(model.name for model in models)
        self.kind, self.mixing = models[0].kind, mixing
        self.members = [member for model in models for member in model.members()]

    def predict(self, texts: Sequence[str | Sequence[str]]) -> list[Prediction]:
        """The label of each text, or of each pair of texts, by all members together.

        Each `Mixing.together` texts, in their order, have weights of their own.
        """
        examples = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        return predict_mixed(self.members, examples, self.mixing)[0] if examples else []


def load_mixture(
    body: str | Path,
    packs: Sequence[str | Path],
    modules: Sequence[str | Path] = (),
    labels: str | Path | None = None,
    device: str | None = None,
    bfloat16: bool = False,
    max_tokens: int | None = None,
    mixing: Mixing | None = None,
) -> MixedModel:
    """Read a body with several packs, or with several task modules and one pack, to be mixed.

    Args:
        packs: of related languages, or one; none: the language inside the body.
        modules: trained over the body, for one question.
        mixing: None: as the paper has it, 10 steps at the rate 10.
        body, labels, device, bfloat16, max_tokens: see `load`.

    Raises:
        InputError: as in `load`; there are several of both, or one of each.
    """
    check_counts(packs, modules)
    languages = {str(folder): folder for folder in packs}
    settings = (labels, device, bfloat16, max_tokens)
    models = [load(body, languages or None, module, *settings) for module in modules or [None]]
    return MixedModel(models, mixing or Mixing())


def sort_members(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The language packs among some folders, and the task modules.

    Raises:
        InputError: a folder is neither.
    """
    packs = [folder for folder in folders if (folder / PACK_FILE).is_file()]
    modules = [folder for folder in folders if (folder / MODULE_FILE).is_file()]
    for folder in folders:
        if folder not in packs and folder not in modules:
            raise InputError(
                f"--mix {folder} is neither a language pack nor a task module: give folders that "
                "`fairseq-minimodel pack` or `fairseq-minimodel module` wrote"
            )
    return packs, modules


def check_counts(packs: Sequence[object], modules: Sequence[object]) -> None:
    """Refuse what is not several packs with at most one module, or several modules with one pack.

    Raises:
        InputError: it is not.
    """
    if len(set(map(str, packs))) < len(packs) or len(set(map(str, modules))) < len(modules):
        raise InputError("a folder is to be mixed with itself: name each once")
    if (len(packs) > 1) == (len(modules) > 1):
        raise InputError(
            f"{len(packs)} language packs and {len(modules)} task modules cannot be mixed: give "
            "several of the one and at most one of the other"
        )
