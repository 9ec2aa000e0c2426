"""The baselines: a body that is trained with its new language, or for one that stays as it starts."""

import shutil

import pytest
import torch
from conftest import run, state_of
from recipes.test_training import same_weights
from tasks.test_language_adaptation import adapt

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.cost import shape_of, training_cost
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.bodies.parts import is_identity
from fairseq_minimodel.bodies.tensors import EMBEDDING, LINEAGE, ORIGIN
from fairseq_minimodel.cost.flops import masked_lm_flops

OPTIONS = ["--criterion", "masked_lm", "--initialise", "overlap", "--save-interval-updates", "2"]


@pytest.fixture(params=["all", "body"])
def parts(request):
    return request.param


@pytest.fixture
def adapted(parts, once, joint_checkpoint, target_data):
    """The folder of a run whose start is in `start` of it."""

    def make(folder):
        adapt(target_data, folder, joint_checkpoint, *OPTIONS, "--adapt", parts)
        still = ("--lr", "0", "--weight-decay", "0", "--max-update", "1")
        adapt(target_data, folder / "start", joint_checkpoint, *OPTIONS, "--adapt", parts, *still)

    return once(f"adapted {parts}", make)


@pytest.mark.slow
def test_what_is_trained_changes_and_the_rest_does_not(parts, adapted, joint_checkpoint):
    before, base = state_of(adapted / "start/checkpoint_last.pt"), state_of(joint_checkpoint)
    after = state_of(adapted / "checkpoint_last.pt")
    for name, tensor in after.items():
        if is_identity(name):
            continue
        is_trained = parts == "all" or not is_language_side(name)
        # a key bias shifts all scores of a query alike
        if not name.endswith("k_proj.bias"):
            assert torch.equal(tensor, before[name]) != is_trained, name
        if not is_language_side(name):
            assert torch.equal(before[name], base[name]), name
    assert before[EMBEDDING].shape == (80, 16)  # of the new vocabulary
    assert torch.equal(after[ORIGIN], base[LINEAGE])
    assert not torch.equal(after[LINEAGE], base[LINEAGE])


def test_it_is_charged_by_the_same_formula(parts, adapted):
    checkpoint = read_checkpoint(adapted / "checkpoint_last.pt")
    cost, frozen = training_cost(checkpoint), {"all": "none", "body": "language"}[parts]
    formula = masked_lm_flops(shape_of(checkpoint), cost.tokens, 32, freeze=frozen).total
    assert formula * 0.9 < cost.flops < formula * 1.5  # padding is computed
    frozen_body = masked_lm_flops(shape_of(checkpoint), cost.tokens, 32, freeze="body").total
    assert cost.flops > 1.2 * frozen_body


def test_it_resumes_by_bits(parts, adapted, joint_checkpoint, target_data, tmp_path):
    (half,) = adapted.glob("checkpoint_*_2.pt")
    shutil.copyfile(half, tmp_path / "checkpoint_last.pt")
    adapt(target_data, tmp_path, joint_checkpoint, *OPTIONS, "--adapt", parts)
    assert same_weights(tmp_path / "checkpoint_last.pt", adapted / "checkpoint_last.pt")
    whole, resumed = (
        read_checkpoint(folder / "checkpoint_last.pt") for folder in (adapted, tmp_path)
    )
    assert torch.equal(whole.state[LINEAGE], resumed.state[LINEAGE])


def pack(checkpoint, language, folder):
    result = run(["fairseq-minimodel", "pack", "--checkpoint", checkpoint, "--language", language,
                  "--output", folder])  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


def plug(body, language, folder):
    return run(
        ["fairseq-minimodel", "plug", "--body", body, "--pack", language, "--output", folder]
    )


def test_its_language_fits_it_alone_and_the_source_language_fits_it_too(
    adapted, joint_checkpoint, tmp_path
):
    body = adapted / "checkpoint_last.pt"
    source = pack(joint_checkpoint, "en", tmp_path / "en")
    target = pack(body, "de", tmp_path / "de")
    plugged = plug(body, source, tmp_path / "plugged")
    assert plugged.returncode == 0, plugged.stderr
    again = plug(tmp_path / "plugged/model.pt", target, tmp_path / "again")  # as after fine-tuning
    assert again.returncode == 0, again.stderr
    assert same_weights(tmp_path / "again/model.pt", body)
    refused = plug(joint_checkpoint, target, tmp_path / "refused")
    assert refused.returncode == 2 and "belongs to the lineage" in refused.stderr
    said = run(["fairseq-minimodel", "inspect", body]).stdout
    assert "(trained on from the lineage " in said
