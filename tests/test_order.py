"""The order of the rooms: each module imports only what stands above it in this list."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fairseq_minimodel"
ROOMS = (
    "terminal.text", "errors", "options", "terminal", "files", "cost", "vocabulary", "nn", "modules",
    "kinds", "bodies", "corpus", "packs",
    "plugin.compat", "models", "criterions", "tasks", "plugin", "tasks.register",
    "inference", "evaluation", "interop", "inspect", "report", "recipes", "cli", "__main__",
)  # fmt: skip
OF_FAIRSEQ = ("plugin", "models", "criterions", "tasks")  # the rooms that may import fairseq
WITHOUT_TORCH = ("terminal", "errors", "options", "files", "cost", "vocabulary", "corpus", "cli")


def room_of(module: str) -> str:
    """The longest entry of ROOMS that the module lies in."""
    found = [room for room in ROOMS if f"{module}.".startswith(f"{room}.")]
    return max(found, key=len) if found else module


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, also in functions: "fairseq", or ".files.atomic" of ours."""
    package = path.relative_to(PACKAGE).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            base = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            base = [part for part in base if part]
            for name in node.names:
                whole = [*base, name.name]
                is_module = PACKAGE.joinpath(*whole).with_suffix(".py").exists()
                is_module |= PACKAGE.joinpath(*whole).is_dir()
                found.add("." + ".".join(whole if is_module else base))
    return found


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "examples" not in path.parts
}


def test_every_module_lies_in_a_room():
    rooms = {room_of(module) for module in MODULES}
    assert rooms - set(ROOMS) == {"__init__"}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_no_arrow_points_up(module):
    own = ROOMS.index(room_of(module))
    for imported in imports_of(MODULES[module]):
        if not imported.startswith("."):
            continue
        if imported == ".":  # the version, and register()
            continue
        assert ROOMS.index(room_of(imported[1:])) <= own, f"{module} imports {imported[1:]}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_rooms_of_fairseq_import_it(module):
    names = {name.split(".")[0] for name in imports_of(MODULES[module])}
    if not room_of(module).startswith(OF_FAIRSEQ):
        assert not names & {"fairseq", "fairseq_cli"}


def test_no_circle():
    graph = {
        name: {one[1:] for one in imports_of(path) if one[1:] in MODULES}
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for imported in graph[name]:
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
