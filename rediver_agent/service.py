"""What systemd is told of this agent, by its notify protocol (sd_notify(3)): a datagram a message.

Where nobody listens nothing is said. Nothing here waits or raises: a service manager that is stuck
must not stop an agent. The variables stay in the environment, for an agent that restarts itself;
tools are started with an environment of their own, which has none of them.
"""

import logging
import socket
from collections.abc import Mapping
from datetime import timedelta

from rediver_agent.masking import printable

log = logging.getLogger(__name__)


class Service:
    """The service that this process is, if it is one."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is in Linux's abstract namespace, which NUL stands for.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._told = ""
        meant = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        every = environment.get("WATCHDOG_USEC", "")
        self.watchdog = (
            timedelta(microseconds=int(every))
            if address and meant and every.isascii() and every.isdigit() and int(every) > 0
            else None
        )
        """How long systemd waits for a sign of life before it kills; None if it does not."""

    def ready(self) -> None:
        """The agent does what it is there for."""
        self._say("READY=1")

    def stopping(self) -> None:
        """The agent ends. Not for one that restarts itself: systemd would end it after a while."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """A sign of life."""
        self._say("WATCHDOG=1")

    def doing(self, sentence: str) -> None:
        """What `systemctl status` shows. Said when it is news."""
        if sentence != self._told:
            self._told = sentence
            self._say(f"STATUS={printable(sentence)}")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
                door.setblocking(False)
                door.connect(self._address)
                door.send(message.encode())
        except OSError as fault:
            log.debug("systemd was not told %s: %s", message, fault)
