"""Texts that are too long: our own commands keep the tokens that the exported tokenizer keeps."""

import shutil
from dataclasses import replace

import pytest
import torch
from support.huggingface_models import generated_texts, make_model

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.interop.export_hf import export_hf
from fairseq_minimodel.interop.import_hf import import_hf
from fairseq_minimodel.kinds.classification import token_sequences
from fairseq_minimodel.packs.pack import load_pack
from fairseq_minimodel.vocabulary.tokenizers import Vocabulary

transformers = pytest.importorskip("transformers")

HEAD = "classification_heads.sentence_classification_head"
POSITIONS = 64  # of the models that the tests make
# (text before the first token, before the second text), as `--init-token` and `--separator-token`
FORMS = [(0, 2), (0, None), (None, None)]


@pytest.fixture(scope="module", params=FORMS, ids=str)
def exported(request, tmp_path_factory):
    """A classifier's body, its pack, its task and the folder of its export."""
    folder = tmp_path_factory.mktemp("truncated")
    make_model(folder / "model", "xlmr", generated_texts())
    import_hf(folder / "model", "xx", folder / "imported")
    body = read_checkpoint(folder / "imported/body.pt")
    generator = torch.Generator().manual_seed(1)
    shapes = {"dense.weight": (32, 32), "dense.bias": (32,), "out_proj.weight": (3, 32)}
    head = {
        f"{HEAD}.{name}": torch.randn(*shape, generator=generator) for name, shape in shapes.items()
    }
    head[f"{HEAD}.out_proj.bias"] = torch.zeros(3)
    init, separator = request.param
    task = {"_name": "sentence_prediction", "init_token": init, "separator_token": separator}
    (folder / "label").mkdir()
    (folder / "label/dict.txt").write_text("a 1\nb 1\nc 1\n")
    tuned = replace(body.replaced({**body.state, **head}), config={**body.config, "task": task})
    write_checkpoint(folder / "topics.pt", tuned)
    shutil.copytree(folder / "imported/pack", folder / "pack")
    export_hf(folder / "topics.pt", folder / "pack", folder / "hf")
    return folder, load_pack(folder / "pack"), task, folder / "hf"


def words(count):
    """A text of so many tokens."""
    return " ".join(["ba"] * count)


@pytest.mark.slow
def test_pairs_of_all_lengths_keep_what_the_exported_tokenizer_keeps(exported):
    _, pack, task, output = exported
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    assert len(vocabulary.encode(words(7))) == 7
    first, second = "ba", "be"
    for longest in (10, 11):
        for one in range(14):
            for other in range(1, 14):  # the library takes "" for no second text
                pair = " ".join([first] * one), " ".join([second] * other)
                [found], [cut] = token_sequences([pair], vocabulary, task, longest)
                expected = tokenizer(*pair, truncation=True, max_length=longest)["input_ids"]
                assert found.tolist() == expected, (one, other, longest)
                whole = len(token_sequences([pair], vocabulary, task)[0][0])
                assert cut == whole - len(found)
                assert found[-1] == 2 and len(found) == min(longest, whole)


def test_single_texts_of_all_lengths_keep_what_the_exported_tokenizer_keeps(exported):
    _, pack, task, output = exported
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    vocabulary = Vocabulary(pack.tokenizer, pack.dictionary)
    for count in range(14):
        [found], [cut] = token_sequences([(words(count),)], vocabulary, task, 10)
        assert (
            found.tolist() == tokenizer(words(count), truncation=True, max_length=10)["input_ids"]
        )
        special = 1 if task["init_token"] is None else 2
        assert cut == max(0, count + special - 10)


def test_each_hypothesis_of_a_long_premise_gets_its_own_answer(exported):
    """The export's answer, cut by its own settings; and the prediction says what was left out."""
    folder, pack, task, output = exported
    model = transformers.AutoModelForSequenceClassification.from_pretrained(output).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(output)
    assert tokenizer.model_max_length == POSITIONS
    served = fairseq_minimodel.load(folder / "topics.pt", folder / "pack", device="cpu")
    pairs = [(words(80), hypothesis) for hypothesis in ("be", "bo be", "bu bi bo")]
    pairs += [(words(60), "be " * 60), ("ba", "be")]
    special = 2 + sum(task[name] is not None for name in ("init_token", "separator_token"))
    found = served.predict(pairs)
    for pair, one in zip(pairs, found, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(*pair, truncation=True, return_tensors="pt")).logits[0]
        expected = logits.softmax(dim=-1).tolist()
        assert list(one.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        tokens = sum(len(text.split()) for text in pair)
        assert one.cut == max(0, tokens + special - POSITIONS)
    assert len({tuple(one.probabilities.values()) for one in found[:3]}) == 3
