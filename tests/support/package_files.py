"""What the package consists of, for the tests that look into wheels."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files_of_the_package():
    """What a wheel holds, apart from its description: the package, with examples/ in it."""
    package, examples = ROOT / "fairseq_minimodel", ROOT / "examples"
    files = {f"fairseq_minimodel/{path}" for path in files_in(package)}
    return files | {f"fairseq_minimodel/examples/{path}" for path in files_in(examples)}


def files_in(folder):
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {str(path) for path in found if "__pycache__" not in path.parts}
