"""The limits of a file, a function and the server (DESIGN section 2). No exceptions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_SERVER_LINES = 4000  # of code: what explains it is free
SOURCES = sorted(
    path
    for place in ("rediver_agent", "plugins", "reference_server", "tests")
    for path in (ROOT / place).rglob("*.py")
    if "demo/app" not in path.as_posix()
)


def ids(path):
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_measure():
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_a_file_fits_its_limits_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)

    assert text.count("\n") <= MAX_FILE_LINES
    assert ast.get_docstring(tree), "a file opens by saying what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _code_lines(node)
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def _code_lines(function):
    """The function's lines without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function):
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_the_server_is_compact():
    server = ROOT / "reference_server" / "rediver_server"
    total = sum(len(_lines_of_code(path)) for path in server.rglob("*.py"))

    assert 0 < total < MAX_SERVER_LINES


def _lines_of_code(path):
    """Lines with something on them that is no comment and no docstring, by number."""
    text = path.read_text(encoding="utf-8")
    said = set()
    for node in ast.walk(ast.parse(text)):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node):
            said |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(text.splitlines(), start=1)
    return [n for n, line in lines if n not in said and line.strip() and line.strip()[0] != "#"]
