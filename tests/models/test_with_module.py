"""Task modules in the model: their sizes, what they freeze, what they start as, what passes them."""

import copy
import re

import pytest
import torch
from fairseq.models.roberta.model import RobertaModel
from models import test_minimodel_modern as modern
from models import test_minimodel_roberta as roberta
from models.test_minimodel_roberta import SIZES, random_tokens, trainable
from support.modern_models import EURO, MODERN
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fairseq_minimodel.bodies.identity import LINEAGE, decode, lineage_of
from fairseq_minimodel.errors import InputError
from fairseq_minimodel.modules.mask import fixed_weights
from fairseq_minimodel.modules.method import is_module_part
from fairseq_minimodel.packs.module import (
    NO_BODY,
    TASK_BODY,
    TASK_SETTINGS,
    body_digest,
    is_layer_norm,
)

HEAD = "sentence_classification_head"
ALL = "q_proj,k_proj,v_proj,out_proj,fc1,fc2"
# settings for a model 16 wide, by a name for each
CASES = {
    "adapter": {"task_module": "adapter", "module_reduction": 4},
    "compacter": {"task_module": "compacter", "module_reduction": 2},
    "compacter++": {"task_module": "compacter++", "module_reduction": 2},
    "mask": {"task_module": "mask"},
    "lora": {"task_module": "lora", "module_rank": 2},
    "bilinear": {"task_module": "tarp", "tarp_form": "bilinear", "module_targets": ALL},
    "kronecker": {"task_module": "tarp", "tarp_form": "kronecker", "module_targets": ALL},
    "dynamic": {"task_module": "tarp", "tarp_form": "dynamic", "module_targets": ALL},
}
# of a ModernBERT and a EuroBERT the weights are those of the default: with the gate
CASES |= {
    f"{kind} {name}": {key: value for key, value in one.items() if value != ALL} | {"kind": kind}
    for kind in (MODERN, EURO)
    for name, one in CASES.items()
}
NORMS = {
    None: 2 * (1 + 2 * 4),
    MODERN: 1 + 1 + 2 * 4 - 1,
    EURO: 1 + 2 * 4,
}  # parameters, of 4 layers
MODERN_CASES = sorted(case for case, settings in CASES.items() if "kind" in settings)


def method_of(case):
    """The name of a case without its family."""
    return case.rpartition(" ")[2]


def of(*names):
    """Cases of all families by their names."""
    return {case for case in CASES if method_of(case) in names}


TRAIN_NORMS = set(CASES) - of("mask", "lora")
EXACT_START = of("lora", "bilinear", "kronecker", "dynamic")


def make_model(kind=None, **settings):
    """Of a kind, or a RoBERTa; the heads of a EuroBERT share keys and values."""
    if kind is None:
        return roberta.make_model(**settings)
    shared = {"encoder_key_value_heads": 1} if kind is EURO else {}
    return modern.make_model(kind, **{**SIZES, **shared, **settings}).train()


def family(case):
    """The settings of a plain model of the family of a case."""
    return {"kind": CASES[case].get("kind")}


@pytest.mark.parametrize("kind", CASES)
def test_no_layer_gets_a_transposed_view(kind):
    """PyTorch would multiply that by a copy of each frozen weight for every position."""
    model = make_model(**CASES[kind])
    laid_out = []
    for layer in model.encoder.sentence_encoder.layers:
        layer.register_forward_pre_hook(
            lambda _, inputs: laid_out.append(inputs[0].is_contiguous())
        )
    model(random_tokens(9, 6), features_only=True)
    assert laid_out == [True] * len(model.encoder.sentence_encoder.layers)


def make_classifier(**settings):
    model = make_model(**settings)
    model.register_classification_head(HEAD, num_classes=3)
    return model


def count(model, *, norms=False):
    """Trained parameters; of LayerNorms, or of all else."""
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and is_layer_norm(name) == norms
    )


BASE = {
    "encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12, "max_positions": 512,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "parameters"), [("compacter", 57088), ("compacter++", 28576)])
def test_roberta_base_has_the_parameter_counts_of_the_paper(kind, parameters, monkeypatch):
    monkeypatch.setattr("fairseq.models.roberta.model.init_bert_params", lambda module: None)
    with torch.device("meta"):  # sizes alone
        model = make_model(task_module=kind, **BASE)
    assert count(model) == parameters
    assert count(model, norms=True) == 38400


@pytest.mark.parametrize("case", CASES)
def test_only_the_module_its_norms_and_its_head_are_trained(case):
    plain, model = make_classifier(**family(case)), make_classifier(**CASES[case])
    trained, names = trainable(model), {name for name, _ in plain.named_parameters()}
    parts = {name for name, _ in model.named_parameters() if is_module_part(name)}
    norms = {name for name in names if is_layer_norm(name)}
    heads = {name for name in names if name.startswith("classification_heads.")}
    assert parts and not parts & names
    assert len(norms) == NORMS[CASES[case].get("kind")]
    assert len(heads) == 4
    expected = parts | (norms if case in TRAIN_NORMS else set())
    assert trained == (expected if case in of("mask") else expected | heads)
    # the body's names are those of a plain model, and it loads from there and back
    state = model.state_dict()
    rest = {name for name in state if not is_module_part(name)} - {TASK_BODY, TASK_SETTINGS}
    assert rest == set(plain.state_dict())


@pytest.mark.parametrize("case", sorted(EXACT_START))
def test_a_plain_body_in_it_gives_the_plain_models_output_to_the_bit(case):
    plain, model = make_classifier(**family(case)), make_classifier(**CASES[case])
    plain, model = plain.eval(), model.eval()
    plain.encoder.frozen = None  # fairseq's own path, as the other takes
    if case == "dynamic":  # both by the path of attention on which the projections are called
        for layer in plain.encoder.sentence_encoder.layers:
            layer.self_attn._set_skip_embed_dim_check()
    model.load_state_dict(plain.state_dict())
    tokens = random_tokens(12, 7)
    assert torch.equal(model(tokens)[0], plain(tokens)[0])
    logits = model(tokens, classification_head_name=HEAD)[0]
    assert torch.equal(logits, plain(tokens, classification_head_name=HEAD)[0])


@pytest.mark.parametrize("case", sorted(of("adapter")))
def test_a_plain_adapter_starts_as_the_identity_too(case):
    """Its additions of zeros change how tensors lie in memory, and so roundings."""
    plain, model = make_classifier(**family(case)).eval(), make_classifier(**CASES[case]).eval()
    model.load_state_dict(plain.state_dict())
    tokens = random_tokens(12, 7)
    torch.testing.assert_close(model(tokens)[0], plain(tokens)[0], rtol=1e-5, atol=1e-6)


def test_both_paths_of_attention_compute_the_same():
    plain = make_model().eval()
    called = copy.deepcopy(plain)
    for layer in called.encoder.sentence_encoder.layers:
        layer.self_attn._set_skip_embed_dim_check()
    tokens = random_tokens(12, 7)
    torch.testing.assert_close(called(tokens)[0], plain(tokens)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_every_trained_parameter_learns_and_nothing_else_moves(case):
    model = make_classifier(**CASES[case]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        logits = model(random_tokens(12, 7, 9), classification_head_name=HEAD)[0]
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
        optimiser.step()
    changed = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == trainable(model)


@pytest.mark.parametrize("case", CASES)
def test_every_layer_that_is_asked_for_has_its_effect(case):
    """Also those that attention reads without calling them."""
    model = make_classifier(**CASES[case], module_layers="1,3-4").eval()
    parts = {name.split(".")[3] for name in model.state_dict() if ".layers." in name
             and is_module_part(name)}  # fmt: skip
    assert parts == {"0", "2", "3"}
    tokens = random_tokens(12, 7)
    modules = {
        name: module
        for name, module in model.named_modules()
        if name.endswith((".task_weight", ".task_output"))
    }
    parts = {"lora": 2, "adapter": 2, "compacter": 2, "compacter++": 1}
    number = parts.get(method_of(case), 7 if case in MODERN_CASES else 6)
    assert len(modules) == 3 * number + 2 * (case in of("mask"))
    for name, module in modules.items():
        before = model(tokens, classification_head_name=HEAD)[0]
        with torch.no_grad():
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        assert not torch.equal(model(tokens, classification_head_name=HEAD)[0], before), name


@pytest.mark.parametrize("case", CASES)
def test_a_copy_of_the_model_has_its_own_module(case):
    """fairseq copies models for its moving averages."""
    model = make_model(**CASES[case]).eval()
    copied, tokens = copy.deepcopy(model), random_tokens(9)
    before = model(tokens)[0]
    assert torch.equal(copied(tokens)[0], before)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            if is_module_part(name):
                parameter.normal_()
    assert torch.equal(model(tokens)[0], before)
    assert not torch.equal(copied(tokens)[0], before)


def test_masks_leave_out_their_share_of_every_matrix():
    model = make_classifier(task_module="mask", mask_sparsity=0.25, module_layers="2-3")
    model.register_span_head()
    scores = {name: tensor for name, tensor in model.state_dict().items() if "scores" in name}
    assert len(scores) == 2 * 6 + 2 + 1
    for tensor in scores.values():
        assert (tensor <= 0.01).sum() == tensor.numel() // 4
    weight = model.encoder.sentence_encoder.layers[1].fc1.weight
    assert (weight == 0).sum() == weight.numel() // 4


def test_the_head_under_masks_is_random_and_stays_whatever_the_body_brings():
    body, model = make_classifier(), make_classifier(task_module="mask")
    model.load_state_dict(body.state_dict())
    dense, out = fixed_weights([(16, 16), (3, 16)])
    state = model.state_dict()
    assert torch.equal(state[f"classification_heads.{HEAD}.dense.weight"], dense)
    assert torch.equal(state[f"classification_heads.{HEAD}.out_proj.weight"], out)
    assert not state[f"classification_heads.{HEAD}.out_proj.bias"].any()
    # other methods go on from the body's head
    model = make_classifier(task_module="lora")
    model.load_state_dict(body.state_dict())
    name = f"classification_heads.{HEAD}.dense.weight"
    assert torch.equal(model.state_dict()[name], body.state_dict()[name])


@pytest.mark.parametrize("case", CASES)
def test_it_goes_with_spans_and_with_language_modelling(case):
    model = make_model(**CASES[case], auxiliary_head_layers="2").train()
    model.register_span_head()
    model.load_state_dict(make_model(**family(case), auxiliary_head_layers="2").state_dict())
    tokens = random_tokens(12, 7)
    model(tokens, span_scores=True)[0].square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.zero_grad()
    losses = model(tokens, masked_tokens=tokens.eq(tokens), targets=tokens)[1]["head_losses"]
    assert set(losses) == {2, 4}
    sum(losses.values()).backward()
    assert any(
        p.grad is not None and p.grad.any()
        for name, p in model.named_parameters()
        if is_module_part(name)
    )


@pytest.mark.parametrize("case", CASES)
def test_the_log_charges_the_body(case):
    """By what training computes; what the module computes itself, in small layers, comes on top."""
    sizes = {"encoder_embed_dim": 64, "encoder_ffn_embed_dim": 256}
    targets = ALL + ",gate" * (case in MODERN_CASES)
    settings = {**CASES[case], "module_targets": targets, "module_rank": 1}
    if "module_reduction" in settings:
        settings["module_reduction"] = 16
    model, tokens = make_classifier(**sizes, **settings).train(), random_tokens(24, 24, 24, 24)
    charged = model._flops(tokens, None, HEAD, all_heads=False).total
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(tokens, classification_head_name=HEAD)[0].sum().backward()
    assert 0.98 < counter.get_total_flops() / charged < 1.25


def test_a_model_knows_the_body_that_it_stands_on():
    body, model = make_model(), make_model(task_module="lora")
    assert decode(model.state_dict()[TASK_BODY]) == NO_BODY
    model.load_state_dict(body.state_dict())
    digest = body_digest(body.state_dict())
    assert decode(model.state_dict()[TASK_BODY]) == digest
    # it stays with the module's checkpoints; the language, the heads and the type do not matter
    again = make_model(task_module="lora")
    again.load_state_dict(model.state_dict())
    assert decode(again.state_dict()[TASK_BODY]) == digest
    other = dict(body.state_dict())
    other["encoder.sentence_encoder.embed_tokens.weight"] = torch.zeros(7, 16)
    other["encoder.lm_head.dense.bias"] = torch.ones(16)
    assert body_digest(other) == digest
    for name in ("layers.3.final_layer_norm.bias", "embed_positions.weight"):
        full = f"encoder.sentence_encoder.{name}"
        assert body_digest({**other, full: other[full] + 1}) != digest


def test_a_body_without_a_written_lineage_keeps_its_own():
    """As fairseq's roberta: what the module adds is not part of it."""
    state = make_model().state_dict()
    del state[LINEAGE]
    model = make_model(task_module="compacter", module_reduction=2)
    model.load_state_dict(dict(state))
    assert decode(model.state_dict()[LINEAGE]) == lineage_of(state)


LORA, TARP = {"task_module": "lora"}, {"task_module": "tarp"}
TAMS, MASK = {"task_module": "tams", "structure_width": 8}, {"task_module": "mask"}
COMPACTER = {"task_module": "compacter", "module_reduction": 2}


@pytest.mark.parametrize(
    ("before", "after", "then", "now"),
    [
        # of the same shapes
        (LORA, {"lora_alpha": 8.0}, "--lora-alpha 16.0", "--lora-alpha 8.0"),
        (MASK, {"mask_threshold": 0.02}, "--mask-threshold 0.01", "--mask-threshold 0.02"),
        (MASK, {"mask_sparsity": 0.5}, "--mask-sparsity 0.05", "--mask-sparsity 0.5"),
        (LORA, {"module_rank": 4, "lora_alpha": 8}, "--module-rank 8 --lora-alpha 16.0",
         "--module-rank 4 --lora-alpha 8.0"),
        # of others
        (LORA, COMPACTER, "--task-module lora", "--task-module compacter"),
        (LORA, {"module_rank": 3}, "--module-rank 8", "--module-rank 3"),
        (LORA, {"module_layers": "1-2"}, "--module-layers 1,2,3,4", "--module-layers 1,2"),
        (LORA, {"module_targets": "fc2,fc1"}, "--module-targets q_proj,v_proj",
         "--module-targets fc1,fc2"),
        (TARP, {"tarp_form": "kronecker"}, "--tarp-form dynamic", "--tarp-form kronecker"),
        (COMPACTER, {"module_reduction": 4}, "--module-reduction 2", "--module-reduction 4"),
        (TAMS, {"structure_width": 4}, "--structure-width 8", "--structure-width 4"),
    ],
)  # fmt: skip
def test_a_module_is_not_gone_on_with_under_other_settings(before, after, then, now):
    state = make_model(**before).state_dict()
    sentence = f"was trained with {then}, and this run has {now}: give {then} to go on"
    with pytest.raises(InputError, match=re.escape(sentence)):
        make_model(**{**before, **after}).load_state_dict(state)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LORA, {"module_layers": "1-4", "module_targets": "v_proj, q_proj", "module_rank": 8}),
        (LORA, {"mask_threshold": 0.5, "module_divisions": 2, "tarp_form": "bilinear"}),
        (LORA, {"dropout": 0.3, "auxiliary_head_layers": "", "pooler_activation_fn": "relu"}),
        (TARP, {"module_divisions": 2}),  # which is of the Kronecker form alone
        ({"task_module": "adapter"}, {"module_reduction": 16}),
    ],
)
def test_settings_that_come_to_the_same_are_the_same(before, after):
    state = make_model(**before).state_dict()
    model = make_model(**{**before, **after})
    model.load_state_dict(dict(state))
    for name, tensor in state.items():
        if name != TASK_BODY:
            assert torch.equal(model.state_dict()[name], tensor), name


def test_settings_survive_what_fairseq_does_to_buffers():
    """Half precision, and the rounding of a moving average."""
    state = make_model(**LORA).state_dict()
    exact = state[TASK_SETTINGS]
    for changed in (exact.half(), exact.bfloat16(), exact + 0.01, exact - 0.01):
        make_model(**LORA).load_state_dict({**state, TASK_SETTINGS: changed})
        with pytest.raises(InputError, match="--lora-alpha 16.0"):
            make_model(**LORA, lora_alpha=8).load_state_dict({**state, TASK_SETTINGS: changed})


def test_a_checkpoint_with_a_module_does_not_fit_a_model_without_or_of_other_shapes():
    state = make_model(**LORA).state_dict()
    with pytest.raises(InputError, match="trained with a task module, and this model has none"):
        make_model().load_state_dict(dict(state))
    # one that names no settings goes by its shapes
    del state[TASK_SETTINGS]
    make_model(**LORA).load_state_dict(dict(state))
    with pytest.raises(InputError, match="this model has another"):
        make_model(**LORA, module_rank=3).load_state_dict(dict(state))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"task_module": "lora", "freeze": "body"}, "--freeze body does not go with"),
        ({"task_module": "lora", "freeze": "bottom:2"}, "--freeze bottom:2 does not go with"),
        ({"task_module": "lora", "module_layers": "3-5"}, "the layers 1 to 4"),
        ({"task_module": "lora", "module_layers": "0"}, "the layers 1 to 4"),
        ({"task_module": "lora", "module_layers": "4-3"}, "the layers 1 to 4"),
        ({"task_module": "lora", "module_layers": "top"}, "not a list of layers"),
        ({"task_module": "tarp", "module_targets": "fc3"}, "there is no fc3"),
        (
            {"task_module": "tarp", "module_targets": "q_proj,gate"},
            "minimodel_roberta have no gate",
        ),
        ({"task_module": "lora", "module_rank": 0}, "--module-rank 0 is out of its range"),
        ({"task_module": "mask", "mask_sparsity": 1.0}, "--mask-sparsity 1.0 is out of"),
        ({"task_module": "adapter", "module_reduction": 3}, "--module-reduction 3 does not divide"),
        ({"task_module": "compacter", "module_reduction": 16}, "divide into 4 parts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        make_model(**settings)


def test_without_a_module_the_model_is_as_it_was():
    assert type(make_model().encoder.sentence_encoder.layers[0].fc1) is torch.nn.Linear
    assert TASK_BODY not in make_model().state_dict()
    assert issubclass(type(make_model()), RobertaModel) and SIZES["encoder_embed_dim"] == 16


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].get("kind") is not EURO])
def test_a_method_says_how_many_parameters_it_adds(case):
    model = make_model(**CASES[case], module_layers="2-3")
    parts = {name: one for name, one in model.named_parameters() if is_module_part(name)}
    assert model.method.count_parameters(4, 16, 32) == sum(one.numel() for one in parts.values())


@pytest.mark.parametrize("case", MODERN_CASES)
def test_a_gated_body_gets_as_many_parameters_as_the_formulas_say(case):
    """d = 16, f = 32, 4 layers; of attention 2 weights d x d, 2 k x d; of the rest 2 f x d, 1 d x f."""
    d, f, rank = 16, 32, {"module_rank": 3} if case not in of("lora") else {}
    k = 8 if CASES[case]["kind"] is EURO else d
    model = make_model(**{**CASES[case], **rank})
    added = {name: one for name, one in model.named_parameters() if is_module_part(name)}
    outputs, inputs = 2 * (d + k) + f + f + d, 4 * d + d + d + f  # summed over a layer's weights
    sides, squares, r = outputs + inputs, 2 * d * (d + k) + 3 * d * f, 3
    n, narrow = 4, d // 2  # of compacter
    hypercomplex = 2 * (d + narrow) + narrow + d
    expected = {
        "adapter": 4 * 2 * (2 * d * 4 + 4 + d),
        "compacter": 4 * 2 * hypercomplex + n**3,
        "compacter++": 4 * hypercomplex + n**3,
        "mask": 4 * squares,
        "lora": 4 * 2 * (d + d + k + d),  # rank 2, of queries and values
        "bilinear": 4 * 2 * r * sides,
        "kronecker": 4 * 2 * (7 * n**3 + r * sides),
        "dynamic": 4 * (r * sides + r * inputs + r * r * inputs + r * outputs),
    }[method_of(case)]
    assert sum(one.numel() for one in added.values()) == expected
    assert count(model, norms=True) == (
        d * NORMS[CASES[case]["kind"]] if case in TRAIN_NORMS else 0
    )


@pytest.mark.parametrize(
    "case", sorted(of("adapter", "compacter", "kronecker", "mask").intersection(MODERN_CASES))
)
def test_a_gated_layer_computes_the_formula(case):
    """x + A(attention(norm x)), then x + A(W2 (act(W1 x) * V x)): A the adapter, W as it counts."""
    model = make_model(**CASES[case]).eval()
    is_euro = CASES[case]["kind"] is EURO
    activation = torch.nn.functional.silu if is_euro else torch.nn.functional.gelu
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_module_part(name) and "scores" not in name:
                parameter.normal_(std=0.3)
    layer = model.encoder.sentence_encoder.layers[1]
    got = {}
    layer.register_forward_hook(lambda _, inputs, output: got.update(x=inputs[0], y=output))
    layer.self_attn.out_proj.register_forward_pre_hook(
        lambda _, inputs: got.update(mixed=inputs[0])
    )
    tokens = random_tokens(12)
    with torch.inference_mode():
        model(tokens)
        weights = {}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "gate", "fc2"):
            part = layer.self_attn if "proj" in name else layer
            linear = getattr(part, name)
            weights[name] = linear.weight
            if hasattr(linear, "task_weight"):
                assert not torch.equal(weights[name], linear.kept_weight)

        def adapted(place, x):
            return place.task_output(x) if hasattr(place, "task_output") else x

        def norm(x, module):
            x = x if is_euro else x - x.mean(-1, keepdim=True)
            return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * module.weight

        x = got["x"]
        x = x + adapted(layer.self_attn, got["mixed"] @ weights["out_proj"].T)
        normed = norm(x, layer.final_layer_norm)
        inner = activation(normed @ weights["fc1"].T) * (normed @ weights["gate"].T)
        x = x + adapted(layer.fc2, inner @ weights["fc2"].T)
        torch.testing.assert_close(got["y"], x, rtol=1e-5, atol=1e-5)
