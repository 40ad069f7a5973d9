"""Rules of the house that no linter of ours checks."""

import ast
import re
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

import pytest

PACKAGES = ("schemas", "triggers", "engine")
SOURCES = sorted(path for package in PACKAGES for path in Path(package).rglob("*.py"))
LINES_MAX = 70


def _functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_a_function_fits_on_a_page() -> None:
    long = [
        f"{path}:{name} {lines} lines"
        for path in SOURCES
        for name, lines in _functions(path)
        if lines > LINES_MAX
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_belongs_to_this_distribution_alone(package: str) -> None:
    shipping = {
        distribution.name
        for distribution in distributions()
        if any(file.parts[0] == package for file in distribution.files or ())
    }
    assert shipping <= {"tripline"}
    found = import_module(package).__file__
    assert found is not None
    assert Path(found).resolve() == Path(package, "__init__.py").resolve()


def test_no_text_names_a_path_of_a_machine() -> None:
    pattern = re.compile(r"(?<![\w.-])/(?:work|root|home)/\w")
    suffixes = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".lua", ".json", ".conf"}
    tops = (*PACKAGES, "tests", "docs", "deploy", "examples", "README.md", "Makefile")
    found = [
        f"{path}:{number}"
        for top in map(Path, tops)
        for path in (top.rglob("*") if top.is_dir() else [top])
        if path.is_file() and (path.suffix in suffixes or path.name == "Makefile")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []
