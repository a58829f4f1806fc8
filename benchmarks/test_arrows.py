"""The folders may lean on one another in one direction only; this reads the imports and holds them to it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "benchmarks": {"benchmarks"},
    "baselines": {"baselines"},
    "reproduce": {"reproduce", "benchmarks", "baselines"},
    "reports": {"reports", "benchmarks.runs", "benchmarks.state", "benchmarks.tables", "benchmarks.field",
                "benchmarks.published"},
}
FILES = [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} if node.level == 0 and node.module else {path.relative_to(ROOT).parts[0]}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    folder = path.relative_to(ROOT).parts[0]
    ours = {name for name in imported(path) if name.split(".")[0] in MAY_IMPORT}
    allowed = MAY_IMPORT[folder]
    assert {name for name in ours if name not in allowed and name.split(".")[0] not in allowed} == set()
    if folder == "reproduce" and "bench" not in path.parts:
        assert not {name for name in ours if name.startswith("reproduce.bench")}, "the core does not import the benches"
    if folder == "reports":
        assert "torch" not in {name.split(".")[0] for name in imported(path)}
