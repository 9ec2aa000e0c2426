import pytest
from support.bodies import write_bodies

from fairseq_minimodel.bodies.checkpoint import read_checkpoint, write_checkpoint


@pytest.fixture(scope="session")
def bodies(once, joint_checkpoint, source_data, target_data):
    """A folder, see `write_bodies`."""
    return once(
        "bodies",
        lambda folder: write_bodies(folder, joint_checkpoint, source_data, target_data),
    )


@pytest.fixture(scope="session")
def encoder(bodies, tmp_path_factory):
    """The pretrained body with settings for sentence vectors."""
    path = tmp_path_factory.mktemp("encoder") / "body.pt"
    body = read_checkpoint(bodies / "pretrained.pt")
    write_checkpoint(path, body.replaced(body.state, sentence_pooling="mean"))
    return path
