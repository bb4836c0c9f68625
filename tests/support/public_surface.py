"""Writes down what plugins may use: every public name of five modules, as its source declares it.

`python tests/support/public_surface.py` writes `tests/architecture/public_surface.txt` anew.
"""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

MODULES = [
    "rediver_agent",
    "rediver_agent.contract",
    "rediver_agent.hookspecs",
    "rediver_agent.interfaces",
    "rediver_agent.testing",
]
FILE = Path(__file__).parents[1] / "architecture" / "public_surface.txt"


def surface() -> str:
    """Every name with its declaration. A name that two modules have is declared once."""
    lines: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for module in MODULES:
        lines += ["", f"# {module}"]
        for name in sorted(public_names(module)):
            home, node = found(module, name)
            if (home, name) in seen:
                lines.append(f"{name}: see {seen[home, name]}")
                continue
            seen[home, name] = module
            lines += declared(name, node)
    return "\n".join(lines).strip() + "\n"


def public_names(module: str) -> list[str]:
    """Its `__all__`."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{module} has no __all__: what it promises must be said")


def found(module: str, name: str) -> tuple[str, ast.stmt]:
    """Where a name is declared, and how; imports are followed."""
    for node in walked(tree(module).body):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and (node.module or "").startswith(
                    "rediver"
                ):
                    return found(node.module or "", alias.name)
        elif name in names_of(node):
            return module, node
    raise AssertionError(f"{module} promises {name} and does not declare it")


def walked(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from walked(node.body)


def names_of(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.Assign():
            return [ast.unparse(target) for target in node.targets]
        case ast.AnnAssign():
            return [ast.unparse(node.target)]
    return []


def declared(name: str, node: ast.stmt) -> list[str]:
    """The lines of one declaration."""
    match node:
        case ast.ClassDef():
            bases = ", ".join(map(ast.unparse, [*node.bases, *node.keywords]))
            members = [line for member in node.body for line in member_lines(member)]
            return [f"class {name}({bases})", *(f"    {line}" for line in members)]
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return function_lines(node)
        case _:
            return [name if name == "__version__" else ast.unparse(node)]


def member_lines(node: ast.stmt) -> list[str]:
    """A public member of a class."""
    names = names_of(node)
    if not names or (names[0].startswith("_") and names[0] != "__init__"):
        return []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return function_lines(node)
    return [ast.unparse(node)]


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    marks = [f"@{ast.unparse(mark)}" for mark in node.decorator_list]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return [*marks, f"{word} {node.name}({ast.unparse(node.args)}){returns}"]


def tree(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
