"""Models of several languages over one body; where a model predicts, and the process it does it in."""

import pytest
import torch

from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.language_side import LanguageSide, with_language_side
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.inference import build
from fairseq_minimodel.inference.build import build_model, in_another_language, ready_device
from fairseq_minimodel.vocabulary.symbols import read_symbols


@pytest.fixture
def prepared(monkeypatch):
    """How often the process was made ready for a CPU."""
    calls = []
    monkeypatch.setattr(build.cpu, "prepare_process", lambda: calls.append(1))
    return calls


@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:99", "cuda:x", "hpu", "vulkan"])
def test_a_device_that_cannot_be_used_is_refused(name, prepared):
    with pytest.raises(InputError, match=f"--device {name} cannot be used here") as raised:
        ready_device(name)
    assert len(str(raised.value).splitlines()) == 1 and len(str(raised.value)) < 300
    assert not prepared


@pytest.mark.parametrize("name", [None, "cpu", "cpu:0"])
def test_without_a_gpu_the_process_is_made_ready_for_the_cpu(name, prepared, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ready_device(name) == (name or "cpu") and prepared == [1]


def test_a_gpu_is_taken_if_there_is_one(prepared, monkeypatch):
    zeros = torch.zeros
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *sizes, device: zeros(*sizes))  # as if it worked
    assert ready_device(None) == "cuda" and not prepared


@pytest.mark.slow
def test_a_language_over_the_body_of_another_model_is_a_model_of_its_own(
    joint_checkpoint, source_data, target_data
):
    """It computes what a model does that is built with this language."""
    body, symbols = read_checkpoint(joint_checkpoint), read_symbols(target_data / "dict.txt")
    side = LanguageSide(torch.randn(80, 16), torch.randn(80))
    former = build_model(body, read_symbols(source_data / "dict.txt"))
    tokens = torch.randint(4, 64, (3, 9))
    with torch.no_grad():
        before = former(tokens)[0]
        other = in_another_language(former, side, symbols)
        state = with_language_side(body.state, side)
        del state["encoder.vocabulary"]  # a model without one takes that of its dictionary
        expected = build_model(body.replaced(state), symbols)
        assert torch.equal(other(tokens + 12)[0], expected(tokens + 12)[0])
        assert torch.equal(former(tokens)[0], before)
    assert other.encoder.dictionary == expected.encoder.dictionary
    assert other.encoder.dictionary != former.encoder.dictionary
    assert not other.training and other.args is former.args
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name]), name
    assert other.encoder.sentence_encoder.embed_tokens.num_embeddings == 80
    # taken as it is
    assert other.encoder.lm_head.weight.data_ptr() == side.embedding.data_ptr()


def test_a_built_model_holds_the_checkpoint_and_draws_nothing(joint_checkpoint, source_data):
    """Random numbers, of which XLM-R has 278 million, are not drawn to be overwritten."""
    body = read_checkpoint(joint_checkpoint)
    generator = torch.get_rng_state()
    state = build_model(body, read_symbols(source_data / "dict.txt")).state_dict()
    assert torch.equal(torch.get_rng_state(), generator)
    assert state.keys() == body.state.keys()
    assert all(torch.equal(tensor, body.state[name]) for name, tensor in state.items())


@pytest.mark.parametrize("kind", ["lora", "adapter", "tarp"])
def test_a_task_module_that_is_not_in_the_checkpoint_is_as_at_the_start(
    kind, joint_checkpoint, source_data
):
    body, symbols = read_checkpoint(joint_checkpoint), read_symbols(source_data / "dict.txt")
    tokens = torch.randint(4, 64, (3, 9))
    with torch.no_grad():
        expected = build_model(body, symbols)(tokens)[0]
        found = build_model(body.replaced(body.state, task_module=kind), symbols)(tokens)[0]
    torch.testing.assert_close(found, expected)
