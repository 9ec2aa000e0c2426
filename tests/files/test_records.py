"""JSON from files: typed values, or one sentence."""

import json
from dataclasses import dataclass, field

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.files.records import MOST_LEVELS, read_json, read_record


@dataclass(frozen=True)
class Inner:
    name: str


@dataclass(frozen=True)
class Example:
    language: str
    layers: int
    loss: float | None = None
    done: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    inputs: list[Inner] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise InputError(f"{self.layers} layers")


GOOD = {"language": "de", "layers": 4, "loss": 2.5, "inputs": [{"name": "a"}], "counts": {"x": 1}}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_a_record_comes_back_as_the_dataclass(tmp_path):
    found = read_record(write(tmp_path / "a.json", GOOD), Example, "make it again")
    assert found == Example("de", 4, 2.5, False, {"x": 1}, [Inner("a")])
    few = read_record(write(tmp_path / "a.json", '{"language": "de", "layers": 4.0}'), Example, "")
    assert few == Example("de", 4) and type(few.layers) is int


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[1]", "it is a list, not an object"),
        ("null", "it is null, not an object"),
        ('{"layers": 4}', "language is missing"),
        ({**GOOD, "language": 5}, "language is 5, not text"),
        ({**GOOD, "language": None}, "language is null, not text"),
        ({**GOOD, "layers": "4"}, "layers is '4', not a whole number"),
        ({**GOOD, "layers": 4.5}, "layers is 4.5, not a whole number"),
        ({**GOOD, "layers": True}, "layers is true, not a whole number"),
        ({**GOOD, "layers": [4]}, "layers is a list, not a whole number"),
        ({**GOOD, "layers": 10**40}, "layers is a number of more than 30 digits"),
        ({**GOOD, "layers": 0}, "0 layers"),
        ({**GOOD, "done": 0}, "done is 0, not true or false"),
        ({**GOOD, "loss": "2.5"}, "loss is '2.5', not a number"),
        ({**GOOD, "counts": [1]}, "counts is a list, not an object"),
        ({**GOOD, "counts": {"x": "1"}}, "counts.x is '1', not a whole number"),
        ({**GOOD, "inputs": [{"name": 1}]}, "inputs.0.name is 1, not text"),
        ({**GOOD, "inputs": ["a"]}, "inputs.0 is 'a', not an object"),
        ({**GOOD, "extra": 1}, "extra is not known to this version"),
        ({**GOOD, "language": "x" * 10**5, "layers": {}}, "layers is an object"),
        ({**GOOD, "layers": "\x1b[2J"}, r"layers is '\\x1b\[2J'"),
        ('{"language": "de", "layers": 4, "loss": NaN}', "holds NaN, which is not JSON"),
        ('{"language": "de", "layers": 4, "loss": -Infinity}', "holds -Infinity"),
        ('{"language": "de", "layers": 4, "loss": 1e999}', "loss is inf"),
        ('{"language": "de", "layers": 4, "layers": 5}', "layers is there twice"),
        ('{"language": "\\ud83d", "layers": 4}', "half a surrogate pair"),
        ('{"language": "de", "layers": ' + "9" * 9999 + "}", "digits"),
        ("[" * 100_000, f"more than {MOST_LEVELS} levels"),
        ('{"a":' * 200 + "1" + "}" * 200, f"more than {MOST_LEVELS} levels"),
    ],
)
def test_what_is_wrong_is_named(text, words, tmp_path):
    with pytest.raises(InputError, match=rf"a.json is damaged \(.*{words}.*\); make it again"):
        read_record(write(tmp_path / "a.json", text), Example, "make it again")


def test_whole_pairs_of_surrogates_and_bytes_that_are_no_text(tmp_path):
    assert read_json(write(tmp_path / "a.json", '"\\ud83d\\ude00"'), "") == "\U0001f600"
    (tmp_path / "a.json").write_bytes(b'"\xff"')
    with pytest.raises(InputError, match="it is not UTF-8"):
        read_json(tmp_path / "a.json", "")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="there is no .*absent.json"):
        read_json(tmp_path / "absent.json", "")
    with pytest.raises(InputError, match="cannot read .*: Is a directory"):
        read_json(tmp_path, "")
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="cannot read .*: Too many levels of symbolic links"):
        read_json(tmp_path / "a", "")
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_json(write(tmp_path / "a.json", GOOD), "", most_bytes=10)


def test_other_fields_are_passed_over_where_they_may_be(tmp_path):
    path = write(tmp_path / "a.json", {**GOOD, "extra": 1})
    assert read_record(path, Example, "", others=True).language == "de"
