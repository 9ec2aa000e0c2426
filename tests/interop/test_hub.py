"""Models on the Hub: what is fetched, and what is not."""

import pytest

from fairseq_minimodel.errors import InputError
from fairseq_minimodel.interop.hub import local_folder


@pytest.mark.parametrize(("weights", "calls"), [("model.safetensors", 1), ("pytorch_model.bin", 2)])
def test_weights_are_fetched_in_one_form(weights, calls, tmp_path, monkeypatch):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        if any(weights.endswith(pattern.rpartition(".")[2]) for pattern in allow_patterns):
            (tmp_path / weights).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert local_folder("owner/name") == tmp_path
    assert len(asked) == calls and {name for name, _ in asked} == {"owner/name"}


def test_a_folder_is_what_it_is_and_other_paths_too(tmp_path):
    assert local_folder(tmp_path) == tmp_path
    assert str(local_folder("a/b/c")) == "a/b/c"


def test_without_a_network_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no folder nobody/nothing, and the Hub gives no model"):
        local_folder("nobody/nothing")
