import argparse
import inspect
import os
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from conftest import run

from fairseq_minimodel.cli import _load, build_parser, main
from fairseq_minimodel.cli.verbs import VERBS


def verbs() -> dict[str, argparse.ArgumentParser]:
    (action,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return action.choices


@pytest.mark.parametrize("verb", verbs())
def test_help_ends_with_an_example_that_the_verb_accepts(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    command = capsys.readouterr().out.split("\nexample:\n")[1]
    words = shlex.split(command.replace("\\\n", "").split(" > ")[0])
    assert words[:2] == ["fairseq-minimodel", verb]
    build_parser().parse_args(words[1:])


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_verbs_and_their_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "export-hf" in script and "source-pack" in script


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; sys.argv = ['fairseq-minimodel', '--help']\n"
        "from fairseq_minimodel.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'fairseq', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "evaluate" in result.stdout


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_options_of_a_verb_are_what_its_function_takes(verb):
    """A default of the function is that of the option, or there is none on the command line."""
    options = fields(_load(verb.options)) if verb.options else ()
    taken = inspect.signature(_load(verb.run)).parameters
    defaults = {option.name: option.default for option in options}
    if not any(one.kind is one.VAR_KEYWORD for one in taken.values()):  # `prepare` has one
        assert set(taken) == set(defaults)
    for name, one in taken.items():
        if one.default is not one.empty and defaults.get(name, MISSING) is not MISSING:
            assert one.default == defaults[name]


def test_an_unknown_verb_or_option_exits_with_2():
    assert run(["fairseq-minimodel", "translate"]).returncode == 2
    assert run(["fairseq-minimodel", "pack", "--checkpoints", "x"]).returncode == 2


@pytest.mark.parametrize("verb", [["user-dir"], ["completion", "bash"], ["flops"]])
def test_a_reader_that_has_had_enough_ends_a_verb_without_a_word(verb):
    """As in `fairseq-minimodel flops | head -1`."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        command = [Path(sys.executable).with_name("fairseq-minimodel"), *verb]
        result = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writes)
    assert result.returncode == 0 and result.stderr == b""


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("predict", ["max-tokens", "top", "max-length", "stride", "max-question", "max-answer"]),
        ("evaluate", ["max-tokens", "max-length", "stride", "max-question", "max-answer"]),
        ("perplexity", ["max-tokens", "depth", "seed"]),
        ("retrieve", ["max-tokens", "layer", "neighbours"]),
        ("prepare-questions", ["max-length", "stride", "max-question"]),
        ("prepare-classification", ["max-length"]),
    ],
)
def test_options_that_count_take_no_nonsense(verb, options, capsys):
    for option in options:
        for value in ("-1", "2.5", "x", "", "9" * 30, *(["0"] * (option not in ("seed", "layer")))):
            with pytest.raises(SystemExit) as stop:
                build_parser().parse_args([verb, f"--{option}={value}"])
            [message] = capsys.readouterr().err.splitlines()[-1:]
            assert stop.value.code == 2 and f"argument --{option}: " in message


def test_evaluate_names_the_benchmarks_that_it_scores():
    from fairseq_minimodel.corpus.benchmarks.table import BENCHMARKS
    from fairseq_minimodel.kinds import CLASSIFICATION, SPAN, TAGS

    [option] = [one for one in verbs()["evaluate"]._actions if one.dest == "benchmark"]
    named = option.help.removeprefix("one of ").split(", ")
    scored = [name for name, one in BENCHMARKS.items() if one.kind in (CLASSIFICATION, SPAN, TAGS)]
    assert sorted(named) == sorted(scored)
    [option] = [one for one in verbs()["export-benchmark"]._actions if one.dest == "benchmark"]
    labelled = [name for name, one in BENCHMARKS.items() if one.kind in (CLASSIFICATION, TAGS)]
    assert sorted(option.help.removeprefix("one of ").split(", ")) == sorted(labelled)
