import pytest
from support.bodies import write_bodies


@pytest.fixture(scope="session")
def bodies(joint_checkpoint, source_data, target_data, tmp_path_factory):
    """A folder, see `write_bodies`."""
    folder = tmp_path_factory.mktemp("bodies")
    return write_bodies(folder, joint_checkpoint, source_data, target_data)
