import pytest
from support.bodies import write_bodies


@pytest.fixture(scope="session")
def bodies(once, joint_checkpoint, source_data, target_data):
    """A folder, see `write_bodies`."""
    return once(
        "bodies",
        lambda folder: write_bodies(folder, joint_checkpoint, source_data, target_data),
    )
