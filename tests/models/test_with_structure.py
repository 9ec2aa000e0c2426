"""Cells with a chosen structure in the model: start, embedding of the task, padding, copies."""

import copy
from functools import partial

import pytest
import torch
from models import test_minimodel_modern as modern
from models.test_minimodel_roberta import make_model, random_tokens, trainable
from support.modern_models import EURO, MODERN

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.with_module import embed_task
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.modules.tams import Cell
from fairseq_minimodel.packs.module import is_layer_norm

KINDS = ("tams", "tarp+tams")
OF_EACH_FAMILY = pytest.mark.parametrize("family", [MODERN, EURO], ids=str)
MODERN_SIZES = {"max_positions": 24, "encoder_layers": 4, "encoder_ffn_embed_dim": 32}
EMBEDDING = "encoder.sentence_encoder.task_shared.embedding"


def make(kind, **settings):
    return make_model(task_module=kind, structure_width=8, **settings)


def structure_of(model):
    return model.encoder.sentence_encoder.task_shared


def with_effect(model):
    """The model with cells that are not the identity."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_module_part(name):
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_the_start_is_the_plain_model(kind, training):
    """Additions of zeros change how tensors lie in memory, and so roundings."""
    settings = {"dropout": 0.0, "attention_dropout": 0.0}
    plain, model = make_model(**settings).train(training), make(kind, **settings).train(training)
    model.load_state_dict(plain.state_dict())
    tokens = random_tokens(12, 7)
    torch.testing.assert_close(model(tokens)[0], plain(tokens)[0], rtol=1e-5, atol=1e-6)


@OF_EACH_FAMILY
@pytest.mark.parametrize("kind", KINDS)
def test_the_start_over_a_gated_body_is_the_plain_model(family, kind):
    plain, model = modern.make_model(family, **MODERN_SIZES), make_modern(kind, family)
    model.load_state_dict(plain.state_dict())
    tokens = random_tokens(12, 7)
    torch.testing.assert_close(model(tokens)[0], plain(tokens)[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(with_effect(model)(tokens)[0], plain(tokens)[0], rtol=0.1)


@OF_EACH_FAMILY
@pytest.mark.parametrize("width", [4, 8])
def test_cells_over_a_gated_body_have_as_many_parameters_as_the_formula_says(family, width):
    """A cell: 2 projections down, 1 up; 9 edges of a linear, a gated and 2 convolutional layers."""
    model = modern.make_model(family, task_module="tams", structure_width=width, **MODERN_SIZES)
    parts = [one for name, one in model.named_parameters() if is_module_part(name)]
    edge = (1 + 2 + 3 + 5) * width**2 + (1 + 2 + 1 + 1) * width
    cell = 2 * (16 * width + width) + (16 * width + 16) + 9 * edge
    controller = 16 * 128 + 128 + 128 * 54 + 54
    assert sum(one.numel() for one in parts) == 4 * cell + controller


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_cell_in_each_layer_and_nothing_of_the_body_is_trained_but_norms(kind):
    plain, model = make_model(), make(kind, module_layers="2-3")
    cells = [name for name, part in model.named_modules() if isinstance(part, Cell)]
    assert [name.split(".")[3:] for name in cells] == [
        ["1", "fc2", "task_output"], ["2", "fc2", "task_output"],
    ]  # fmt: skip
    names = {name for name, _ in plain.named_parameters()}
    parts = {name for name, _ in model.named_parameters() if is_module_part(name)}
    assert trainable(model) == parts | {name for name in names if is_layer_norm(name)}
    assert ("task_weight" in str(parts)) == (kind == "tarp+tams")


def test_the_task_is_the_mean_of_the_token_embeddings_over_its_inputs():
    model = make("tams")
    tokens, more = random_tokens(12, 7), random_tokens(9, seed=4)
    embed_task(model.encoder.sentence_encoder, [tokens, more])
    rows = model.encoder.sentence_encoder.embed_tokens.weight
    wanted = rows[torch.cat([tokens[0], tokens[1, :7], more[0]])].mean(dim=0)
    torch.testing.assert_close(structure_of(model).embedding, wanted, rtol=1e-5, atol=1e-6)
    # it goes with the checkpoints, and is nothing that an optimiser changes
    assert torch.equal(model.state_dict()[EMBEDDING], structure_of(model).embedding)
    assert EMBEDDING not in trainable(model)
    embed_task(make_model().encoder.sentence_encoder, [tokens])  # without cells: nothing


def choices_of(model):
    """The choices that the cells of the model are given, from now on."""
    seen = []
    for part in model.modules():
        if isinstance(part, Cell):
            part.register_forward_hook(lambda cell, *_: seen.append(cell.structure[0].current[0]))
    return seen


def test_all_layers_have_the_structure_of_the_pass_and_it_ends_with_it():
    model = with_effect(make("tams")).train()
    seen = choices_of(model)
    model(random_tokens(9))
    assert len(seen) == 4 and all(choice is seen[0] for choice in seen)
    assert structure_of(model).current is None
    model(random_tokens(9))
    assert torch.equal(seen[0], seen[-1])  # nothing is drawn
    with pytest.raises(IndexError):
        model(torch.full((1, 5), 10**6))
    assert structure_of(model).current is None


def test_a_controller_that_was_prepared_is_frozen_and_its_choice_computed_alone():
    fresh, prepared = make("tams"), with_effect(make("tams"))
    structure_of(prepared).prepared.fill_(1)
    structure_of(prepared).embedding.normal_()
    for from_meta_training in (False, True):
        model = make("tams").train()
        model.load_state_dict((prepared if from_meta_training else fresh).state_dict())
        controller = {name for name in trainable(model) if ".controller." in name}
        assert bool(controller) != from_meta_training
    seen = choices_of(model)
    model(random_tokens(9))[0].square().sum().backward()
    wanted = structure_of(prepared).chosen()
    assert seen == [wanted] * 4
    edge = model.encoder.sentence_encoder.layers[0].fc2.task_output.edges[-1]
    parts = ("linear", "gated", "narrow", "wide")
    with_gradient = [name for name in parts if getattr(edge, name).weight.grad is not None]
    assert with_gradient == ([] if wanted[-1] < 2 else [parts[wanted[-1] - 2]])

    again = make("tams")  # meta-training itself goes on learning
    structure_of(again).in_meta_training = True
    again.load_state_dict(prepared.state_dict())
    assert {name for name in trainable(again) if ".controller." in name}


def test_cells_of_version_0_1_0_are_refused():
    model = make("tams")
    state = model.state_dict()
    for name in [name for name in state if ".down.0." in name]:
        state[name.replace(".down.0.", ".down.")] = state.pop(name)
    with pytest.raises(InputError, match="the checkpoint has cells of version 0.1.0, .*train the"):
        model.load_state_dict(state)


def test_the_controller_learns_through_the_choice():
    model = with_effect(make("tams")).train()
    structure_of(model).embedding.normal_()
    model(random_tokens(9))[0].square().sum().backward()
    for name, parameter in structure_of(model).named_parameters():
        assert parameter.grad.any(), name


def make_modern(kind, family=MODERN):
    return modern.make_model(family, task_module=kind, structure_width=8, **MODERN_SIZES)


@pytest.mark.parametrize(
    "make",
    [make, make_modern, partial(make_modern, family=EURO)],
    ids=["RoBERTa", "ModernBERT", "EuroBERT"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(make, kind):
    """Nor does a neighbour: convolutions run over the places of a text."""
    model = with_effect(make(kind)).eval().double()  # large weights let roundings grow
    structure_of(model).embedding.normal_()
    tokens = random_tokens(12, 7)
    together = model(tokens, features_only=True)[0]
    alone = model(tokens[1:, :7], features_only=True)[0]
    torch.testing.assert_close(together[1:, :7], alone, rtol=1e-10, atol=1e-10)


def test_a_copy_of_the_model_has_its_own_structure():
    model = with_effect(make("tams")).train()
    tokens = random_tokens(9)
    model(tokens)
    copied = copy.deepcopy(model).eval()
    before = model.eval()(tokens)[0]
    assert torch.equal(copied(tokens)[0], before)
    with torch.no_grad():
        for parameter in structure_of(copied).parameters():
            parameter.normal_()
    assert torch.equal(model(tokens)[0], before)
    assert not torch.equal(copied(tokens)[0], before)
