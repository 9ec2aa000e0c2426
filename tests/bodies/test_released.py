"""fairseq's released roberta.* and xlmr.*: their layout, small, loads as a body.

What they are like: the names of tensors from before fairseq 0.10 (`decoder.`, `emb_layer_norm`; in
RoBERTa query, key and value in one matrix), all options in one argparse.Namespace, dict.txt beside
model.pt; in RoBERTa it has ids of GPT-2's BPE as symbols.
"""

import argparse

import pytest
import torch
from conftest import SMALL_MODEL, state_of, train
from fairseq.checkpoint_utils import load_model_ensemble_and_task

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint
from fairseq_minimodel.bodies.identity import decode, lineage_of
from fairseq_minimodel.bodies.tensors import LINEAGE
from fairseq_minimodel.bodies.training_files import identified, symbols_of
from fairseq_minimodel.cli import main
from fairseq_minimodel.inference.build import build_model

fairseq_minimodel.register()  # fairseq's loading, too, takes what is known to be harmless

WIDTH, LAYERS, WORDS = 16, 3, 60
OPTIONS = {
    "activation_dropout": 0.0, "activation_fn": "gelu", "arch": "roberta_base",
    "attention_dropout": 0.1, "criterion": "masked_lm", "data": "/checkpoint/data-bin",
    "dropout": 0.1, "encoder_attention_heads": 2, "encoder_embed_dim": WIDTH,
    "encoder_ffn_embed_dim": 32, "encoder_layers": LAYERS, "leave_unmasked_prob": 0.1,
    "mask_prob": 0.15, "mask_whole_words": False, "max_positions": 32, "optimizer": "adam",
    "pooler_activation_fn": "tanh", "pooler_dropout": 0.0, "random_token_prob": 0.1,
    "sample_break_mode": "complete", "seed": 1, "tokens_per_sample": 32, "freq_weighted_replacement":
    False, "shorten_data_split_list": "", "shorten_method": "none",
}  # fmt: skip


def released(folder, joined, task, symbols, zipped):
    """Write model.pt and dict.txt."""
    generator = torch.Generator().manual_seed(2)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator) * 0.1

    def norm(name):
        return {f"{name}.weight": 1 + drawn(WIDTH), f"{name}.bias": drawn(WIDTH)}

    def linear(name, outputs, inputs):
        return {f"{name}.weight": drawn(outputs, inputs), f"{name}.bias": drawn(outputs)}

    rows, encoder, head = len(symbols) + 5, "decoder.sentence_encoder.", "decoder.lm_head."
    state = {
        f"{encoder}embed_tokens.weight": drawn(rows, WIDTH),
        f"{encoder}embed_positions.weight": drawn(34, WIDTH),
        **norm(f"{encoder}emb_layer_norm"),
    }
    for index in range(LAYERS):
        layer = f"{encoder}layers.{index}."
        attention = f"{layer}self_attn."
        if joined:
            state[f"{attention}in_proj_weight"] = drawn(3 * WIDTH, WIDTH)
            state[f"{attention}in_proj_bias"] = drawn(3 * WIDTH)
        else:
            for part in "kvq":
                state |= linear(f"{attention}{part}_proj", WIDTH, WIDTH)
        state |= linear(f"{attention}out_proj", WIDTH, WIDTH)
        state |= norm(f"{layer}self_attn_layer_norm") | linear(f"{layer}fc1", 32, WIDTH)
        state |= linear(f"{layer}fc2", WIDTH, 32) | norm(f"{layer}final_layer_norm")
    state |= {f"{head}weight": state[f"{encoder}embed_tokens.weight"], f"{head}bias": drawn(rows)}
    state |= linear(f"{head}dense", WIDTH, WIDTH) | norm(f"{head}layer_norm")
    content = {
        "args": argparse.Namespace(**OPTIONS, task=task),
        "model": state,
        "optimizer_history": [
            {"criterion_name": "MaskedLmLoss", "optimizer_name": "MemoryEfficientFP16Optimizer",
             "lr_scheduler_state": {"best": None}, "num_updates": 500000}
        ],
        "extra_state": {"train_iterator": {"epoch": 5}, "val_loss": 2.0},
        "last_optimizer_state": None,
    }  # fmt: skip
    torch.save(content, folder / "model.pt", _use_new_zipfile_serialization=zipped)
    (folder / "dict.txt").write_text("".join(f"{symbol} 9\n" for symbol in symbols))
    return folder / "model.pt"


@pytest.fixture(scope="module", params=["roberta", "xlmr"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "roberta":  # released in 2019, before PyTorch's zip files
        numbers = [
            *(str(200 + index) for index in range(WORDS - 2)),
            "madeupword0000",
            "madeupword0001",
        ]
        return released(folder, True, "masked_lm", numbers, zipped=False)
    words = [f"\u2581word{index}" for index in range(WORDS)]
    return released(folder, False, "multilingual_masked_lm", words, zipped=False)


def test_logits_are_those_of_fairseqs_own_model(model):
    checkpoint = read_checkpoint(model)
    assert checkpoint.updates == 500000 and checkpoint.layers == LAYERS
    ours = build_model(checkpoint, symbols_of(checkpoint))
    overrides = {"data": str(model.parent), "task": "masked_lm"}
    (theirs,), _, _ = load_model_ensemble_and_task([str(model)], arg_overrides=overrides)
    tokens = torch.randint(4, WORDS, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs.eval()(tokens)[0]
        assert expected.std() > 0.01
        assert torch.equal(ours(tokens)[0], expected)


def test_the_lineage_is_the_same_by_our_verbs_and_by_fairseqs_loading(model):
    """A digest of the tensors by their present names, whoever renames them."""
    checkpoint = read_checkpoint(model)
    built = build_model(checkpoint, symbols_of(checkpoint))
    raw = torch.load(model, weights_only=True)["model"]
    built.upgrade_state_dict(raw)  # what --finetune-from-model does
    assert decode(raw[LINEAGE]) == lineage_of(checkpoint.state)
    assert decode(identified(checkpoint).state[LINEAGE]) == lineage_of(checkpoint.state)


def test_it_is_a_body_for_standard_and_for_minipost(model, target_data, tmp_path):
    """RoBERTa as it is, XLM-R by its extended bottom layers."""
    extended = tmp_path / "extended.pt"
    assert main(["extend", "--body", str(model), "--depth", "2", "--new-layers", "1", "--output",
                 str(extended)]) == 0  # fmt: skip
    checkpoint = read_checkpoint(model)
    train(
        target_data, tmp_path / "adapted", "--task", "language_adaptation", "--base-checkpoint",
        model if checkpoint.model_config["task"] == "masked_lm" else extended,
        "--source-dict", model.parent / "dict.txt", "--criterion", "joint_masked_lm", *SMALL_MODEL,
        "--tokens-per-sample", "32", "--sample-break-mode", "complete",
        "--initialise", "random",  # the only start where numbers stand in dict.txt
    )  # fmt: skip
    before, after = checkpoint.state, state_of(tmp_path / "adapted/checkpoint_last.pt")
    for layer in (0, 1):
        name = f"encoder.sentence_encoder.layers.{layer}.self_attn.k_proj.weight"
        assert torch.equal(before[name], after[name])
    assert decode(after[LINEAGE]) == lineage_of(before)
