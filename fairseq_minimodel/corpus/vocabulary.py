"""The vocabulary of a corpus: given, or trained on the first documents of the training part."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..files.atomic import atomic_file
from ..vocabulary.sentencepiece_model import read_model
from ..vocabulary.tokenizers import (
    SENTENCEPIECE_FILE,
    dictionary_pieces,
    load_tokenizer,
    tokenizer_file,
    write_dictionary,
)
from ..vocabulary.training import train_sentencepiece, write_sample
from .buckets import JOINERS, Bucket
from .run import Run
from .splits import BucketPlan, split_texts


def make_vocabulary(run: Run, buckets: Sequence[BucketPlan]) -> tuple[Path, Path]:
    """Paths of the tokenizer and of the dict.txt (without counts unless it is given)."""
    model = run.work / tokenizer_file(run.given_model or SENTENCEPIECE_FILE)
    dictionary = run.work / "dict.txt"
    if not model.exists():
        if run.given_model is not None:
            with atomic_file(model) as unfinished:
                shutil.copyfile(run.given_model, unfinished)
        else:
            _train(run, buckets, model)
    with atomic_file(dictionary) as unfinished:
        if run.given_dictionary is not None:
            shutil.copyfile(run.given_dictionary, unfinished)
        else:
            symbols = [piece for piece, _ in dictionary_pieces(load_tokenizer(model))]
            write_dictionary(unfinished, symbols, [0] * len(symbols))
    return model, dictionary


def _train(run: Run, buckets: Sequence[BucketPlan], model: Path) -> None:
    sample, options = run.work / "sample.txt", run.options
    texts = (
        text
        for plan in buckets
        for text in split_texts(Bucket(run.buckets, plan.number), plan, "train")
    )
    size = write_sample(texts, sample, options.vocabulary_sample_megabytes * 1e6)
    print(f"training the vocabulary on {size / 1e6:,.1f} MB of text", flush=True)
    content, messages = train_sentencepiece(
        sample,
        options.vocabulary_size,
        options.character_coverage,
        options.normalisation_rule,
        options.user_defined_symbols,
    )
    for message in messages:
        print(message, flush=True)
    with atomic_file(model) as unfinished:
        unfinished.write_bytes(content)
    sample.unlink()


def warn_about_joiners(counts: Mapping[str, int], model: Path) -> None:
    """Say it where the vocabulary's normalisation takes joiners, which the text has, out of it."""
    tokenizer = load_tokenizer(model)
    lost = [
        f"{counts[joiner]:,} {name} (U+{ord(joiner):04X})"
        for joiner, name in JOINERS.items()
        if counts[joiner] and joiner not in tokenizer.normalize(f"a{joiner}b")
    ]
    if lost:
        print(
            f"warning: the text has {' and '.join(lost)}, which the vocabulary's normalisation makes "
            "spaces; a vocabulary that is trained with --normalisation-rule nfkc keeps them",
            flush=True,
        )


def warn_about_export(model: Path) -> None:
    """Say before all training what `export-hf` would say after it."""
    if model.name != SENTENCEPIECE_FILE:
        return
    try:
        read_model(model)
    except InputError as error:
        reason = str(error).removeprefix(f"{model} ")
        print(f"warning: export-hf cannot write models of this vocabulary: it {reason}", flush=True)
