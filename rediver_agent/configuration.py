"""The settings in force. They change while the agent runs, so whoever needs one reads it here anew.

Nothing else holds a `Settings`: what was read once would go on as if nothing had been changed.
"""

from collections.abc import Callable

from rediver_agent.settings import Settings


class Configuration:
    """One agent's settings. Read `settings` when it is needed, and keep no copy."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tell: list[Callable[[Settings], None]] = []

    @property
    def settings(self) -> Settings:
        """The settings in force now."""
        return self._settings

    def on_change(self, tell: Callable[[Settings], None]) -> None:
        """Call `tell` with the new settings after every change."""
        self._tell.append(tell)

    def replace(self, settings: Settings) -> None:
        """Put other settings in force, and tell everyone who must act on it."""
        self._settings = settings
        for tell in self._tell:
            tell(settings)
