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


@pytest.fixture
def house(tmp_path):
    """A running server with one tenant and one source."""
    house = House(tmp_path)
    house.start_server()
    yield house
    house.close()
