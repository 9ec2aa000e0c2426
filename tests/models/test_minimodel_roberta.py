"""The model against fairseq's own, and the arithmetic that the method rests on."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta.model import RobertaEncoder, RobertaModel
from omegaconf import OmegaConf

from fairseq_minimodel.bodies.architectures import ARCHITECTURES
from fairseq_minimodel.bodies.identity import VOCABULARY, decode
from fairseq_minimodel.bodies.language_side import is_language_side
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.models.encoder import auxiliary_layers
from fairseq_minimodel.models.minimodel_roberta import (
    MiniModelRoberta,
    MiniModelRobertaConfig,
)

SIZES = {
    "encoder_layers": 4,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "max_positions": 24,
}


def make_dictionary(words=40):
    dictionary = Dictionary()
    for index in range(words):
        dictionary.add_symbol(f"w{index}")
    dictionary.add_symbol("<mask>")
    return dictionary


def make_model(dictionary=None, **settings):
    torch.manual_seed(1)
    config = OmegaConf.structured(MiniModelRobertaConfig)
    config.update({**SIZES, **settings})
    task = SimpleNamespace(source_dictionary=dictionary or make_dictionary())
    return MiniModelRoberta.build_model(config, task)


def random_tokens(*lengths, seed=0):
    """One row for each length, right-padded: <s>, words, </s>."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.full((len(lengths), max(lengths)), 1)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.randint(4, 44, (length,), generator=generator)
        tokens[row, 0], tokens[row, length - 1] = 0, 2
    return tokens


def test_without_auxiliary_heads_it_is_fairseqs_roberta_to_the_bit():
    ours = make_model()
    torch.manual_seed(1)
    args = SimpleNamespace(**SIZES)
    theirs = RobertaModel(args, RobertaEncoder(args, make_dictionary()))
    identity = {"encoder.lineage", "encoder.vocabulary"}
    assert set(ours.state_dict()) - identity == set(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name
    tokens = random_tokens(12, 7)
    for mode in (True, False):
        ours.train(mode), theirs.train(mode)
        torch.manual_seed(2)
        expected = theirs(tokens)[0]
        torch.manual_seed(2)
        assert torch.equal(expected, ours(tokens)[0])


def test_every_head_reads_its_layer_through_the_shared_language_side():
    model = make_model(auxiliary_head_layers="2,3").eval()
    with torch.no_grad():  # so that no head is the identity of another, and the bias is seen
        model.encoder.lm_head.bias.normal_()
    tokens = random_tokens(10, 6)
    masked = torch.zeros_like(tokens, dtype=torch.bool)
    masked[0, 3] = masked[1, 2] = True
    logits, extra = model(tokens, masked_tokens=masked, all_heads=True)
    assert list(extra["head_logits"]) == [2, 3, 4]
    assert torch.equal(extra["head_logits"][4], logits)
    states = model(tokens, features_only=True, return_all_hiddens=True)[1]["inner_states"]
    embedding = model.encoder.sentence_encoder.embed_tokens.weight
    for layer in (2, 3):
        head = model.encoder.auxiliary_lm_heads[str(layer)]
        hidden = states[layer].transpose(0, 1)[masked]
        hidden = torch.nn.functional.gelu(hidden @ head.dense.weight.T + head.dense.bias)
        hidden = torch.nn.functional.layer_norm(
            hidden, (16,), head.layer_norm.weight, head.layer_norm.bias
        )
        expected = hidden @ embedding.T + model.encoder.lm_head.bias
        torch.testing.assert_close(extra["head_logits"][layer], expected)


@pytest.mark.parametrize("all_heads", [False, True])
def test_results_depend_neither_on_padding_nor_on_neighbours(all_heads):
    model = make_model(auxiliary_head_layers="2").eval()
    together = random_tokens(20, 9, 5)
    with torch.inference_mode():
        logits, extra = model(together, all_heads=all_heads)
        for row, length in enumerate((20, 9, 5)):
            alone, alone_extra = model(together[row : row + 1, :length], all_heads=all_heads)
            torch.testing.assert_close(logits[row, :length], alone[0], atol=1e-5, rtol=1e-5)
            for layer, alone_logits in alone_extra.get("head_logits", {}).items():
                in_batch = extra["head_logits"][layer][row, :length]
                torch.testing.assert_close(in_batch, alone_logits[0], atol=1e-5, rtol=1e-5)


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_freeze_splits_the_parameters_into_language_side_and_body():
    names = trainable(make_model(auxiliary_head_layers="2"))
    language = {name for name in names if is_language_side(name)}
    assert language == {
        "encoder.sentence_encoder.embed_tokens.weight",
        "encoder.lm_head.bias",
    }
    assert trainable(make_model(auxiliary_head_layers="2", freeze="body")) == language
    assert trainable(make_model(auxiliary_head_layers="2", freeze="language")) == names - language


def test_a_new_heads_bias_can_be_trained():
    fixed, free = (trainable(make_model(freeze=f"bottom:2{end}")) for end in ("", "+bias"))
    assert free - fixed == {"encoder.lm_head.bias"} and fixed <= free


def test_a_copied_head_can_stay_frozen():
    model = make_model(auxiliary_head_layers="3", freeze="bottom:2-head")
    trained = trainable(model)
    assert trained == {
        name for name, _ in model.named_parameters() if ".layers.2." in name or ".layers.3." in name
    }
    with_bias = trainable(make_model(auxiliary_head_layers="3", freeze="bottom:2-head+bias"))
    assert with_bias == trained | {"encoder.lm_head.bias"}


def test_freeze_bottom_leaves_the_upper_layers_and_the_heads():
    model = make_model(auxiliary_head_layers="3", freeze="bottom:2")
    trained = trainable(model)
    assert trained == {
        name
        for name, _ in model.named_parameters()
        if ".layers.2." in name
        or ".layers.3." in name
        or "auxiliary_lm_heads" in name
        or (name.startswith("encoder.lm_head.") and name != "encoder.lm_head.bias")
    }
    assert model.encoder.lm_head.weight is model.encoder.sentence_encoder.embed_tokens.weight


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"freeze": "embeddings"}, '--freeze "embeddings" is none of'),
        ({"freeze": "bottom:5"}, "N from 0 to 4"),
        ({"freeze": "bottom:x"}, '--freeze "bottom:x"'),
        ({"auxiliary_head_layers": "4"}, "layers 1 to 3"),
        ({"auxiliary_head_layers": "0"}, "layers 1 to 3"),
        ({"auxiliary_head_layers": "two"}, "not a list of layers"),
        ({"encoder_attention_heads": 3}, "does not divide into 3 attention heads"),
    ],
)
def test_contradicting_settings_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        make_model(**settings)


def test_layers_are_read_in_any_order():
    for text, layers in (("8, 4,8", [4, 8]), ("", []), ("2-4,6", [2, 3, 4, 6])):
        cfg = SimpleNamespace(auxiliary_head_layers=text, encoder_layers=12)
        assert auxiliary_layers(cfg) == layers


def test_architectures_fill_only_what_is_open():
    task = SimpleNamespace(source_dictionary=make_dictionary(), max_positions=lambda: 20)
    config = OmegaConf.structured(MiniModelRobertaConfig)
    config.encoder_layers = 2
    model = MiniModelRoberta.build_model(config, task)
    tiny = ARCHITECTURES["minimodel_roberta"]
    assert model.encoder.sentence_encoder.num_layers == 2
    assert model.encoder.sentence_encoder.embed_tokens.embedding_dim == tiny["encoder_embed_dim"]
    assert model.max_positions() == 20


def test_a_checkpoint_of_another_vocabulary_of_the_same_size_is_refused():
    state = make_model().state_dict()
    other = Dictionary()
    for index in reversed(range(40)):
        other.add_symbol(f"w{index}")
    other.add_symbol("<mask>")
    model = make_model(other)
    with pytest.raises(InputError, match="trained with the vocabulary"):
        model.load_state_dict(state)
    make_model().load_state_dict(state)


def test_lineage_and_vocabulary_travel_with_the_state():
    first, second = make_model(), make_model()
    assert decode(first.encoder.lineage) != decode(second.encoder.lineage)
    second.load_state_dict(first.state_dict())
    assert decode(first.encoder.lineage) == decode(second.encoder.lineage)
    half = first.half().state_dict()
    assert decode(half[VOCABULARY]) == decode(second.encoder.vocabulary)


def test_heads_that_the_model_lacks_are_left_out_in_one_line(caplog):
    caplog.set_level("INFO")
    wanted = make_model(auxiliary_head_layers="2")
    wanted.register_classification_head("topics", 4)
    make_model().load_state_dict(wanted.state_dict(), strict=True)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert caplog.messages[0].endswith("no such head: classification head topics")
    assert caplog.messages[1].endswith("no such head: MLM head after layer 2")
