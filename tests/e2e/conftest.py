"""A house (server, tenant, agents) and the stub scanner for every end-to-end test."""

import os

import pytest
import stub_scanner
from house import BIN, House


@pytest.fixture(scope="session")
def stub_plugin(tmp_path_factory):
    """Where the third-party plugin `rediver-stub` is installed."""
    directory = tmp_path_factory.mktemp("stub-plugin")
    stub_scanner.install(directory / "site")
    return directory / "site"


@pytest.fixture(scope="session")
def stub_env(stub_plugin):
    """The environment of an agent that has the stub scanner and its program."""
    path = os.pathsep.join([str(stub_plugin / "bin"), str(BIN), "/usr/bin", "/bin"])
    return {"PYTHONPATH": str(stub_plugin), "PATH": path}


@pytest.fixture(scope="session")
def landlord(tmp_path_factory):
    """The one server of all tests here that leave it as it is."""
    house = House(tmp_path_factory.mktemp("landlord"))
    house.start_server()
    yield house
    house.close()


@pytest.fixture
def house(tmp_path, landlord):
    """A tenant of a running server, with one source."""
    house = House(tmp_path, landlord)
    yield house
    house.close()


@pytest.fixture
def own_house(tmp_path):
    """A tenant with one source, and a server that only this test has: it may be killed."""
    house = House(tmp_path)
    house.start_server()
    yield house
    house.close()
