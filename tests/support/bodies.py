"""Bodies of every task over one pretrained one, with random heads, and packs of two languages."""

import random

import torch
from conftest import make_sentence
from evaluation.test_zero_shot_questions import write_body, write_pack

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.bodies.language_side import LanguageSide, language_side_of
from fairseq_minimodel.inference.build import build_model
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import save_module
from fairseq_minimodel.vocabulary.symbols import read_symbols

WORDS = {
    "en": [f"word{index}" for index in range(60)],
    "de": [f"wort{index}" for index in range(70)],
}
LABELS = ("travel", "sports", "politics")
HEAD = "sentence_classification_head"
WINDOWS = {"max_length": 12, "stride": 4, "max_question": 1}


def write_bodies(folder, pretrained, source_data, target_data):
    """pretrained.pt, topics.pt, questions.pt, label/dict.txt, packs/en and packs/de."""
    base, generator = _livelier(read_checkpoint(pretrained)), torch.Generator().manual_seed(1)

    def drawn(*shape):
        return 2 * torch.randn(*shape, generator=generator)

    write_checkpoint(folder / "pretrained.pt", base)
    classes = {
        f"classification_heads.{HEAD}.dense.weight": drawn(16, 16),
        f"classification_heads.{HEAD}.dense.bias": drawn(16),
        f"classification_heads.{HEAD}.out_proj.weight": drawn(3, 16),
        f"classification_heads.{HEAD}.out_proj.bias": torch.zeros(3),
    }
    base.config["task"] |= {"init_token": 0, "separator_token": 2}
    write_body(folder / "topics.pt", base, "sentence_prediction", {**base.state, **classes})
    span = {"span_head.weight": drawn(2, 16), "span_head.bias": drawn(2)}
    write_body(folder / "questions.pt", base, "span_qa", {**base.state, **span})
    (folder / "label").mkdir()
    (folder / "label/dict.txt").write_text("".join(f"{label} 1\n" for label in LABELS))
    german = LanguageSide(drawn(80, 16), drawn(80))
    write_pack(folder / "packs/en", base, "en", language_side_of(base.state), source_data)
    write_pack(folder / "packs/de", base, "de", german, target_data)
    return folder


def _livelier(body):
    """With weights so large that the text matters to all hidden states, after few updates."""
    return body.replaced(
        {
            name: 8 * tensor if ".layers." in name and tensor.dim() == 2 else tensor
            for name, tensor in body.state.items()
        }
    )


def write_module_body(folder, kind, data):
    """KIND.pt: topics.pt with a task module of random parameters in it; KIND/: the module alone."""
    topics = read_checkpoint(folder / "topics.pt")
    trained = topics.replaced(topics.state, task_module=kind)
    state = build_model(trained, read_symbols(data / "dict.txt")).state_dict()
    generator = torch.Generator().manual_seed(2)
    for name, tensor in state.items():
        if is_module_part(name):
            state[name] = tensor + torch.randn(tensor.shape, generator=generator)
    trained = trained.replaced(state)
    write_checkpoint(folder / f"{kind}.pt", trained)
    save_module(folder / kind, trained, folder / "label/dict.txt")


def sentences(language, count, seed=0, shortest=1, longest=12):
    """So many sentences, of any lengths, the longest in no particular place."""
    generator, words = random.Random(seed), WORDS[language]
    return [
        " ".join(make_sentence(generator, words, [1] * len(words)).split()[:size])
        for size in (generator.randint(shortest, longest) for _ in range(count))
    ]
