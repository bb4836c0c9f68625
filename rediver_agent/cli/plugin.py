"""`rediver-agent plugin`: begin a plugin of one's own.

`new` writes a whole package from `plugin_templates`, whose tests pass as it stands. It makes the
package's directory, and takes it away again where it cannot be written to its end.
"""

import builtins
import keyword
import re
import shlex
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import click

from rediver_agent import __version__
from rediver_agent.contract.commands import CommandType
from rediver_agent.errors import ConfigurationError

KINDS: Final = ("scanner", "collector", "parser", "handler")
OURS: Final = frozenset(
    {"agent", "server", "semgrep", "trivy", "gitleaks", "github", "webhook", "sarif", "json"}
)
MAX_NAME: Final = 30  # so that no line of a package becomes longer than its own linter has it

# What each kind is, in a sentence of its own metadata, and what it needs besides the agent.
_DESCRIPTION: Final = {
    "scanner": "Runs {} for the Rediver agent.",
    "collector": "Collects the findings of {} for the Rediver agent.",
    "parser": "Reads the reports of {} for the Rediver agent.",
    "handler": "A command type for the Rediver agent: runs {}.",
}
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "scanner": (),
    "collector": ("httpx>=0.28", "pydantic>=2.10"),
    "parser": ("pydantic>=2.10",),
    "handler": ("pydantic>=2.10",),
}

# Where each template goes. `$module` is the package's.
_EVERY: Final = {
    "pyproject.toml": "pyproject.toml.in",
    ".gitignore": "gitignore.in",
    ".github/workflows/ci.yml": "ci.yml.in",
}
_OF_A_KIND: Final = {
    "README.md": "README.md.in",
    "$module/__init__.py": "module.py.in",
    "tests/test_$module.py": "tests.py.in",
}
_SAMPLE: Final = {
    "scanner": {"tests/data/report.sarif": "report.sarif.in"},
    "parser": {"tests/data/report.json": "report.json.in"},
}


@click.group("plugin")
def command() -> None:
    """Begin a plugin of your own."""


@command.command("new")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(KINDS), default="scanner", show_default=True, help="What it adds."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where rediver-NAME is made; without it, here.",
)
def new(name: str, kind: str, directory: Path) -> None:
    """Write a whole package, rediver-NAME, whose tests pass as it stands.

    A scanner runs a tool that writes SARIF, a parser reads a report of another format, a collector
    fetches findings from a server, and a handler adds a command type.
    """
    plain = name.removeprefix("rediver-")
    _refuse(plain, kind)
    target = directory / f"rediver-{plain}"
    _write(target, _package(plain, kind))
    here = Path(_module(plain)) / "__init__.py"
    click.echo(f"{target}: a {kind}, with its tests and a workflow that runs them. Next:\n")
    click.echo(f"  cd {shlex.quote(str(target))}\n  pip install -e '.[dev]'\n  pytest\n")
    click.echo(f"Then change {here} to what yours needs.")


def _refuse(name: str, kind: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > MAX_NAME:
        raise ConfigurationError(
            f"{name!r} is no name for a plugin: take small letters, digits and single -, a letter "
            f"first, at most {MAX_NAME}; such as `my-tool`"
        )
    if name in OURS:
        raise ConfigurationError(f"rediver-{name} is one of our own: choose another name")
    if kind == "handler" and _command_type(name) in set(CommandType):
        raise ConfigurationError(
            f"{_command_type(name)} is one of the agent's own command types: choose another name"
        )


def _package(name: str, kind: str) -> dict[str, str]:
    """The text of every file, by its path in the package."""
    templates = {
        **{path: _text(file) for path, file in _EVERY.items()},
        **{
            path: _text(f"{kind}/{file}")
            for path, file in {**_OF_A_KIND, **_SAMPLE.get(kind, {})}.items()
        },
        "$module/py.typed": "",
    }
    agent = f"rediver-agent{'[sarif]' if kind == 'scanner' else ''}{_promised()}"
    words = {
        "name": name,
        "distribution": f"rediver-{name}",
        "module": _module(name),
        "command_type": _command_type(name),
        "class_name": _class_name(name, kind, "".join(templates.values())),
        "description": _DESCRIPTION[kind].format(name),
        "dependencies": ", ".join(f'"{one}"' for one in (*_NEEDS[kind], agent)),
    }
    return {
        Template(path).substitute(words): Template(text).substitute(words)
        for path, text in templates.items()
    }


def _promised() -> str:
    """The releases in which what does not warn in this one is still there.

    What goes away warns for a release first; from 1.0 on it goes with a new major version alone.
    """
    major, minor = map(int, __version__.split(".")[:2])
    end = f"{major + 1}" if major else f"0.{minor + 2}"
    return f">={major}.{minor},<{end}"


def _text(template: str) -> str:
    return (files("rediver_agent") / "plugin_templates" / template).read_text(encoding="utf-8")


def _module(name: str) -> str:
    return f"rediver_{name.replace('-', '_')}"


def _command_type(name: str) -> str:
    return name.replace("-", "_")


def _class_name(name: str, kind: str, templates: str) -> str:
    """`MyTool` of my-tool; with its kind behind it where that means something already."""
    plain = "".join(word.capitalize() for word in name.split("-"))
    known = keyword.iskeyword(plain) or hasattr(builtins, plain)
    if known or re.search(rf"\b{plain}\b", templates):
        return plain + kind.capitalize()
    return plain


def _write(target: Path, package: Mapping[str, str]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir()
    except FileExistsError as fault:
        raise ConfigurationError(
            f"{fault.filename} is there already: choose another name or --directory"
        ) from None
    except OSError as fault:
        raise ConfigurationError(f"{target} cannot be made: {fault.strerror}") from None
    try:
        for path, text in package.items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except BaseException as fault:  # Ctrl-C, too: half a package is nobody's
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(fault, OSError):
            said = f"{target} cannot be written ({fault.strerror}): nothing of it is left"
            raise ConfigurationError(said) from None
        raise
