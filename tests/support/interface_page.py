"""Writes the reference page of the plugin interface, from the docstrings of what it promises."""

import ast
import inspect
import re
from collections.abc import Iterator

import public_surface as promised

GROUPS = {
    "What plugins implement": (
        ["Scanner", "CommandLineScanner", "Parser", "Collector", "CommandHandler", "Enricher", "Observer"],
        "Each is a small base class. A method that is added later has a default.",
    ),
    "What they are handed": (
        ["ScanContext", "CollectContext", "ListenContext", "HandlerContext"],
        "Each is a protocol, so that a fake needs no inheritance.",
    ),
    "What goes to and fro": (
        ["Completed", "ScanReport", "Notice", "ToolInfo", "ObservedCommand", "NoOptions"],
        "Findings, assets and reports are of the contract: [What does a finding say?](findings.md)",
    ),
}  # fmt: skip
ERRORS = ["CommandError", "ToolMissing", "ToolError", "ReportUnreadable"]
HELPERS = [
    "items", "events", "outline", "top_level", "rewound", "mask",
    "severity_from_word", "severity_from_score", "severity_from_sarif",
]  # fmt: skip


def page() -> str:
    """The page."""
    lines = [
        "# What may a plugin use?",
        "",
        "Everything here is imported from `rediver_agent`, except where it says so, and is",
        "[promised](../explanation/plugin-versions.md). This page is generated from the code.",
        "",
        "## Hooks",
        "",
        "Functions of the plugin's module, marked with `@hookimpl`. They take nothing, are not async, and",
        "yield or return what the plugin provides.",
        "",
        "| hook | yields |",
        "| --- | --- |",
    ]
    for name in promised.public_names("rediver_agent.hookspecs"):
        if name.startswith("rediver_"):
            _, node = promised.found("rediver_agent.hookspecs", name)
            lines.append(f"| `{name}()` | {_first(node)} |")
    for title, (names, about) in GROUPS.items():
        lines += ["", f"## {title}", "", about]
        for name in names:
            lines += _class(name)
    lines += ["", "## Errors", "", "What is raised ends the command with its reason, and the sentence is shown to people.", ""]  # fmt: skip
    lines += ["| error | reason | when |", "| --- | --- | --- |"]
    for name in ERRORS:
        lines.append(f"| `{name}` | `{_reason(name)}` | {_first(_node(name)) or 'The tool is not there.'} |")  # fmt: skip
    lines += ["", "## Helpers"]
    for name in HELPERS:
        lines += _function(_node(name), "###")
    lines += ["", "## The kit for tests", "", "Imported from `rediver_agent.testing`: [Test a plugin](../how-to/test-a-plugin.md)."]  # fmt: skip
    for name in sorted(promised.public_names("rediver_agent.testing")):
        _, node = promised.found("rediver_agent.testing", name)
        if name.startswith("check_") or name == "provided":
            lines += _function(node, "###")
    return "\n".join(lines) + "\n"


def _node(name: str) -> ast.stmt:
    return promised.found("rediver_agent", name)[1]


def _class(name: str) -> Iterator[str]:
    node = _node(name)
    assert isinstance(node, ast.ClassDef)
    yield from ("", f"### {name}", "", *_said(node))
    body = node.body
    for at, member in enumerate(body):
        names = promised.names_of(member)
        if not names or names[0].startswith("_"):
            continue
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            if not ast.get_docstring(member):
                continue
            yield from _function(member, "####")
        else:
            yield from ("", f"`{_plain(ast.unparse(member))}`")
            after = body[at + 1] if at + 1 < len(body) else None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                yield from ("", inspect.cleandoc(str(after.value.value)))


def _function(node: ast.stmt, level: str) -> Iterator[str]:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    *_, signature = promised.function_lines(node)
    yield from ("", f"{level} {node.name}", "", f"`{_plain(signature)}`", "", *_said(node))


def _said(node: ast.AST) -> list[str]:
    """A docstring as Markdown: its examples are indented, and stay so."""
    return (ast.get_docstring(node) or "").splitlines()  # type: ignore[arg-type]


def _first(node: ast.AST) -> str:
    said = _said(node)
    return said[0] if said else ""


def _reason(name: str) -> str:
    node = _node(name)
    found = re.search(r"Reason\.(\w+)", ast.unparse(node))
    return found[1].lower() if found else ""


def _plain(text: str) -> str:
    return re.sub(r"ClassVar\[(.*?)\](?= =|$)", r"\1", text)
