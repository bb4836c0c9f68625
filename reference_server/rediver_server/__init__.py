"""The Rediver reference server: commands out to agents, findings in, one tenant never sees another.

It knows of the agent only the contract (`rediver_agent.contract`). Importing the package does
nothing: `create_app` is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rediver_server.app import create_app

__version__: Final = "0.1.0"
__all__ = ["__version__", "create_app"]


def __getattr__(name: str) -> Any:
    if name != "create_app":
        raise AttributeError(f"module 'rediver_server' has no attribute {name!r}")
    return import_module("rediver_server.app").create_app
