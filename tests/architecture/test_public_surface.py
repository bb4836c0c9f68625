"""What plugins are promised. It changes by a decision, never by accident."""

import importlib

import pytest
from public_surface import FILE, MODULES, surface

MEANT = (
    "what plugins may use has changed. If that is meant: run `make surface`, and say it in "
    "CHANGELOG.md; what goes away or changes is deprecated for a release first "
    "(docs/explanation/plugin-versions.md)"
)


def test_the_surface_is_as_it_was_promised():
    assert surface() == FILE.read_text(encoding="utf-8"), MEANT


@pytest.mark.parametrize("module", MODULES)
def test_every_promised_name_is_there(module):
    imported = importlib.import_module(module)

    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []
