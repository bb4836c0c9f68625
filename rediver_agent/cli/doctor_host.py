"""What `rediver-agent doctor` finds on this machine: directory, spool, targets, the agent."""

import os
import platform
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil

from rediver_agent import __version__, spool_view
from rediver_agent.agent import mode_of
from rediver_agent.cli.doctor_checks import Check, not_ok, ok
from rediver_agent.cli.status import standing_of
from rediver_agent.cli.status_table import span
from rediver_agent.errors import ConfigurationError, TargetNotAllowed
from rediver_agent.overlay import Overlay
from rediver_agent.policy import open_typed
from rediver_agent.process import become_subreaper
from rediver_agent.settings import Settings
from rediver_agent.state_dir import free_bytes

MIB: Final = 1 << 20
PATIENCE: Final = timedelta(hours=1)  # for what waits in the spool: the longest back-off is 5 min
# SQLite's write-ahead log needs shared memory, and the lock has to be the kernel's own.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs"}
)


def configuration(overlay: Overlay, config_file: Path | None) -> Iterator[Check]:
    """What the settings come to. They have been read by now."""
    settings = overlay.settings
    yield ok(f"rediver-agent {__version__}, Python {platform.python_version()}")
    yield ok(f"configuration: {config_file or 'defaults and environment'}")
    if overlay.version:
        yield ok(f"settings that the server has changed: version {overlay.version}")
    for sentence in overlay.sentences:
        yield not_ok("settings that the server has changed", f"{sentence}; see `config show`")
    try:
        yield ok(f"mode: {mode_of(settings)}")
    except ConfigurationError as fault:
        yield not_ok("mode", str(fault))
    if settings.agent.enable_command_polling and not settings.allowed_roots():
        yield not_ok(
            "allowed targets",
            "none: a server's scans are all refused; set security.allowed_targets",
        )


def processes(_settings: Settings) -> Iterator[Check]:
    """Whether tools can be ended for certain."""
    if become_subreaper():
        yield ok("tools are ended with everything that they start")
    else:
        yield ok(
            "tools are ended with their process group; one that leaves it may survive, since "
            "only Linux tells of it"
        )


def running_agent(settings: Settings) -> Iterator[Check]:
    """Whether the agent of this configuration runs, and how its polls go."""
    now = datetime.now(UTC)
    standing = standing_of(settings, now)
    poll: dict[str, Any] = standing.facts.get("poll") or {}
    if standing.state == "stopped":
        yield ok("no agent runs here now; `rediver-agent run` starts it")
        return
    who = f"the agent, process {standing.pid}"
    if standing.state == "silent":
        yield not_ok(who, "it has said nothing for over a minute; look at its log, and restart it")
    elif standing.facts.get("draining"):
        yield not_ok(who, "it is ending and takes nothing new; start it again when it is done")
    elif problem := poll.get("problem"):
        yield not_ok(f"{who}, polls in vain", str(problem))
    else:
        yield ok(f"{who}, is {standing.state}")
    listening: list[dict[str, Any]] = standing.facts.get("listening") or []
    for listener in listening:
        if problem := listener.get("problem"):
            yield not_ok(f"{who}: {listener.get('name')} does not listen", str(problem))


def state_directory(settings: Settings) -> Iterator[Check]:
    """Private, writable, local and with room."""
    path = settings.state_dir
    try:
        there = path.stat()
    except FileNotFoundError:
        parent = next(each for each in path.absolute().parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok(f"{path} is made at the first start")
        else:
            yield not_ok(f"{path} is not there", f"make it, or let this user write to {parent}")
        return
    except NotADirectoryError:
        yield not_ok(f"{path} cannot be made", "a part of it is a file; set state_dir")
        return
    except OSError as fault:
        yield not_ok(f"{path}", f"{fault.strerror}; ask as the user that the agent runs as")
        return
    if there.st_uid != os.geteuid():
        yield not_ok(
            f"{path} belongs to another user", "run the doctor as the user that the agent runs as"
        )
    private = not there.st_mode & 0o077
    yield (
        ok(f"{path} is private")
        if private
        else not_ok(f"{path} can be entered by others", f"chmod 700 {path}")
    )
    yield _writable(path)
    if (kind := _file_system(path)) in NETWORK_FILE_SYSTEMS:
        yield not_ok(f"{path} is on {kind}", "use a local disk: a spool over a network is lost")
    least, free = settings.retry_queue.min_free_bytes, free_bytes(path)
    room = f"{free // MIB} MiB of disk are free"
    yield (
        ok(room)
        if free >= least
        else not_ok(room, f"below {least // MIB} MiB nothing is claimed; free space")
    )


def spool(settings: Settings) -> Iterator[Check]:
    """Whole, and on its way."""
    directory = settings.state_dir
    if fault := spool_view.fault_of(directory):
        yield not_ok("the spool is damaged", f"{fault}; the agent sets it aside at its next start")
        return
    view = spool_view.look(directory)
    waits = f"the spool is whole, {view.waiting} wait"
    age = datetime.now(UTC) - view.oldest_at if view.oldest_at else timedelta()
    if view.waiting and settings.server.base_url and age > PATIENCE:
        yield not_ok(
            f"{waits}, the oldest for {span(age)}", "see the server's lines, and `spool list`"
        )
    else:
        yield ok(waits)
    if view.parked:
        yield not_ok(
            f"the server has refused {view.parked}",
            "`rediver-agent spool list` says why; then `spool retry` or `spool drop`",
        )
    for name in sorted(path.name for path in directory.glob("spool.corrupt-*.sqlite3")):
        yield not_ok(
            f"a damaged spool was set aside as {name}",
            "the log of that time says what it cost; remove it when nobody needs it",
        )


def targets(settings: Settings) -> Iterator[Check]:
    """What is to be scanned is there."""
    named = dict.fromkeys(settings.targets, "target")
    named |= dict.fromkeys(settings.security.allowed_targets, "allowed target")
    for target, kind in named.items():
        try:
            opened = open_typed(target)
        except TargetNotAllowed as fault:
            yield not_ok(f"{kind} {target}", f"{fault}; make it, or correct the configuration")
            continue
        try:
            os.listdir(opened.descriptor)  # noqa: PTH208 - the descriptor is what is scanned
        except OSError as fault:
            why = (fault.strerror or str(fault)).lower()
            yield not_ok(f"{kind} {target}", f"its files cannot be listed: {why}; allow this user")
        else:
            yield ok(f"{kind} {target}")
        finally:
            opened.close()


def _writable(path: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"doctor")
            file.flush()
    except OSError as fault:
        why = (fault.strerror or str(fault)).lower()
        return not_ok(f"{path} cannot be written", f"{why}; mend that, or set state_dir")
    return ok(f"{path} can be written")


def _file_system(path: Path) -> str:
    """Its kind, by the mount that is nearest to it."""
    real = path.resolve()
    mounts = {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[str(at)] for at in (real, *real.parents) if str(at) in mounts), "")
