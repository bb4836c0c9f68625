"""Reference pages are the code's own words, and no link in the docs leads nowhere."""

import re
from pathlib import Path

import pytest
import reference_pages

from rediver_agent.contract.results import Reason
from rediver_server.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/*.md")])


@pytest.mark.parametrize("name", sorted(reference_pages.pages()))
def test_a_reference_page_says_what_the_code_says(name):
    there = (reference_pages.REFERENCE / name).read_text(encoding="utf-8")

    assert there == reference_pages.pages()[name], "run `make docs`"


def test_every_setting_of_the_server_is_explained():
    assert set(reference_pages.SERVER_SETTINGS) == set(Settings.model_fields)


def test_every_reason_is_explained():
    assert set(reference_pages.REASONS) == set(Reason)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_leads_nowhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{target} is not there"
