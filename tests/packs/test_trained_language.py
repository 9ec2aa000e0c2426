"""A body that was fine-tuned with its token embeddings is noticed wherever a pack is put into it."""

import json
from dataclasses import replace

import pytest
from support.bodies import WINDOWS, sentences, write_bodies, write_module_body

import fairseq_minimodel
from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint
from fairseq_minimodel.cli import main
from fairseq_minimodel.packs.module import load_module
from fairseq_minimodel.packs.plug_module import plug_module
from fairseq_minimodel.packs.trained_language import was_language_trained

WARNING = "was fine-tuned without --freeze language"
TUNED = {"finetune_from_model": "en/checkpoint_last.pt", "restore_file": "checkpoint_last.pt"}
RESTORED = {"finetune_from_model": None, "restore_file": "en/checkpoint_last.pt"}
FROM_NOTHING = {"finetune_from_model": None, "restore_file": "checkpoint_last.pt"}


@pytest.fixture(scope="module")
def folder(joint_checkpoint, source_data, target_data, tmp_path_factory):
    """The bodies of `write_bodies`, those of the tasks fine-tuned with the language side."""
    folder = write_bodies(
        tmp_path_factory.mktemp("unfit"), joint_checkpoint, source_data, target_data
    )
    for name in ("topics", "questions"):
        write_checkpoint(
            folder / f"{name}-frozen.pt", begun(folder / f"{name}.pt", TUNED, "language")
        )
        write_checkpoint(folder / f"{name}.pt", begun(folder / f"{name}.pt", TUNED))
    return folder


def begun(path, start, freeze="none", **model):
    """The checkpoint, as if it had begun with another."""
    body = read_checkpoint(path).replaced(read_checkpoint(path).state, freeze=freeze, **model)
    return replace(body, config={**body.config, "checkpoint": start})


@pytest.mark.parametrize("body", ["topics", "questions"])
@pytest.mark.parametrize(
    ("start", "freeze", "module", "expected"),
    [
        (TUNED, "none", "none", True),
        (TUNED, None, None, True),  # of a model that does not know these settings
        (RESTORED, "none", "none", True),
        (TUNED, "language", "none", False),
        (TUNED, "bottom:1", "none", False),
        (TUNED, "body", "none", False),
        (TUNED, "none", "lora", False),  # which freezes body and language
        (FROM_NOTHING, "none", "none", False),
        (None, "none", "none", False),
    ],
)
def test_the_settings_say_whether_a_task_trained_the_language(
    folder, body, start, freeze, module, expected
):
    checkpoint = begun(folder / f"{body}.pt", start, freeze, task_module=module)
    assert was_language_trained(checkpoint) == expected
    pretrained = begun(folder / "pretrained.pt", start, freeze, task_module=module)
    assert not was_language_trained(pretrained)  # packs are trained over it afterwards


def test_a_module_over_a_body_that_was_pretrained_further_is_fine(folder, source_data):
    write_module_body(folder, "lora", source_data)
    module = load_module(folder / "lora")
    for name, expected in (("pretrained", False), ("topics", True)):
        over = plug_module(begun(folder / f"{name}.pt", TUNED), module)[0]
        assert was_language_trained(over) == expected


@pytest.mark.parametrize("name", ["topics", "questions"])
@pytest.mark.parametrize("verb", ["evaluate", "plug", "predict", "load", "retrieve", "perplexity"])
def test_each_way_to_put_a_pack_in_warns(folder, verb, name, tmp_path, caplog, capsys):
    """Once, of the packs that do not fit; not of the body's own language, nor of a frozen body."""
    data = tmp_path / "data"
    write_data(data, name)

    def warned(body, language):
        caplog.clear()
        use(folder / f"{body}.pt", folder / "packs" / language, verb, name, data)
        found = [one.getMessage() for one in caplog.records if WARNING in one.getMessage()]
        capsys.readouterr()
        return found

    [message] = warned(name, "de")
    assert f"{name}.pt" in message and "in de expect results near chance" in message
    assert not warned(name, "en")  # equal by bits to the body's own
    assert not warned(f"{name}-frozen", "de")


def write_data(folder, name):
    folder.mkdir()
    text = sentences("de", 4)
    (folder / "text.txt").write_text("\n".join(text) + "\n")
    both = [" ".join(pair) for pair in zip(sentences("en", 40), sentences("de", 40), strict=True)]
    for file in ("tatoeba.deu-eng.deu", "tatoeba.deu-eng.eng", "sentences.txt"):
        (folder / file).write_text("\n".join(both) + "\n")
    if name == "topics":
        (folder / "rows.tsv").write_text("text\tlabel\nwort1 wort2\ttravel\nwort3\tsports\n")
        return
    answer = {"text": "wort2", "answer_start": 6}
    asked = {"id": "1", "question": "wort1", "answers": [answer]}
    paragraph = {"context": "wort1 wort2 wort3", "qas": [asked]}
    (folder / "rows.tsv").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    record = {"question": "wort1", "context": "wort1 wort2"}
    (folder / "text.txt").write_text(json.dumps(record) + "\n")


def use(body, pack, verb, name, data):
    windows = [f"--{option.replace('_', '-')}={value}" for option, value in WINDOWS.items()]
    if verb == "load":
        fairseq_minimodel.load(body, pack, device="cpu")
        return
    options = {
        "evaluate": ["--test", pack, data / "rows.tsv", *(windows if name == "questions" else [])],
        "plug": ["--pack", pack, "--output", data / "out"],
        "predict": ["--pack", pack, "--input", data / "text.txt", "--output", data / "out.jsonl",
                    *(["--json-lines", *windows] if name == "questions" else [])],
        "retrieve": ["--source-pack", body.parent / "packs/en", "--pack", pack, "--data", data,
                     "--similarity", "cosine"],
        "perplexity": ["--pack", pack, data / "sentences.txt"],
    }[verb]  # fmt: skip
    if verb == "retrieve" and pack.name == "en":
        return  # Tatoeba has no English beside English
    assert main([str(part) for part in (verb, "--body", body, *options)]) == 0


def test_evaluate_says_it_in_its_json(folder, tmp_path):
    write_data(tmp_path / "data", "topics")
    tests = [
        part
        for language in ("en", "de")
        for part in ("--test", folder / "packs" / language, tmp_path / "data/rows.tsv")
    ]
    arguments = ["evaluate", "--body", folder / "topics.pt", *tests, "--json", tmp_path / "s.json"]
    assert main([str(part) for part in arguments]) == 0
    rows = json.loads((tmp_path / "s.json").read_text())
    assert [(row["language"], row["unfit_body"]) for row in rows] == [("en", False), ("de", True)]
