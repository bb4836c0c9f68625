"""What is in the nine wheels: all of a package, and nothing else."""

import re
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rediver_agent import __version__

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(place.name for place in (ROOT / "plugins").iterdir())
HOMES = {
    "rediver_agent": ROOT,
    "rediver_server": ROOT / "reference_server",
    **{f"rediver_{name}": ROOT / "plugins" / name for name in PLUGINS},
}
pytestmark = pytest.mark.xdist_group("wheels")


@pytest.fixture(params=sorted(HOMES))
def package(request):
    return request.param


@pytest.fixture
def wheel(package, wheels):
    (file,) = wheels.glob(f"{package}-*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


@pytest.fixture
def metadata(package, wheel):
    text = wheel.read(f"{package}-{__version__}.dist-info/METADATA").decode()
    return HeaderParser().parsestr(text)


def test_there_are_nine(wheels):
    named = {file.name.partition("-")[0] for file in wheels.glob("*.whl")}

    assert named - {"rediver_bandit", "rediver_checksum", "rediver_dependency_track"} == set(HOMES)
    assert len(HOMES) == 9


def test_make_dist_says_what_it_has_built(wheels):
    said = (wheels / "make-dist.done").read_text()

    assert len(re.findall(r"^/.*/rediver_\w+-.*\.whl$", said, re.MULTILINE)) == len(HOMES)


def test_all_of_the_package_is_in_it_and_nothing_else(package, wheel):
    home = HOMES[package]
    there = {
        file.relative_to(home).as_posix()
        for file in (home / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }

    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert packed == there
    assert f"{package}/py.typed" in packed


def test_it_says_who_made_it_for_whom_and_under_which_licence(package, wheel, metadata):
    licence = wheel.read(f"{package}-{__version__}.dist-info/licenses/LICENSE")

    assert licence == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert metadata.get_payload().startswith("# ")


def test_a_plugin_needs_the_agent_and_an_extra_of_the_agent_brings_it(wheels):
    (agent,) = wheels.glob("rediver_agent-*.whl")
    extras = {(need.name, str(need.marker)) for need in needs_of(agent)}
    for name in PLUGINS:
        assert (f"rediver-{name}", f'extra == "{name}"') in extras
        (wheel,) = wheels.glob(f"rediver_{name}-*.whl")
        (agent_of_it,) = (need for need in needs_of(wheel) if need.name == "rediver-agent")
        assert agent_of_it.specifier == SpecifierSet(">=0.1,<0.3")
        with zipfile.ZipFile(wheel) as opened:
            points = opened.read(f"rediver_{name}-{__version__}.dist-info/entry_points.txt")
        assert f"{name} = rediver_{name}" in points.decode()


def needs_of(wheel):
    with zipfile.ZipFile(wheel) as opened:
        name = f"{wheel.name.partition('-')[0]}-{__version__}.dist-info/METADATA"
        said = HeaderParser().parsestr(opened.read(name).decode())
    return [Requirement(need) for need in said.get_all("Requires-Dist")]
