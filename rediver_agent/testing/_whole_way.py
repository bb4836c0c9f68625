"""Plugins the whole way through the agent: its executor, contexts, processes, parsers and spool.

What was recorded is played by real programs, on a PATH of their own for as long as it takes. The
trials of a plugin run beside each other, each in a place of its own. Imported when it is used: it
is the whole agent.
"""

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import psutil
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from rediver_agent.agent import open_spool, utc_now
from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import AnyCommand, ScanCommand, ScanPayload, UnknownCommand
from rediver_agent.executor import Cause, Executor, Handler, Job
from rediver_agent.handlers.plugin_command import PluginCommandHandler
from rediver_agent.handlers.scan import ScanHandler
from rediver_agent.interfaces import AnyHandler, AnyScanner, Parser
from rediver_agent.policy import Policy
from rediver_agent.reaper import is_alive
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.testing import _player
from rediver_agent.testing._trials import Ran, Trial

COMMAND_ID: Final = "cmd_check"
_GRACE: Final = timedelta(seconds=0.3)  # what ignores signals here never heeds them
_LOOK_SECONDS: Final = 0.02
_HANGING: Final = 2  # the program, and its child

Workplace = Callable[[Path, Trial], "Work"]
"""Makes the work of a trial in a directory of its own."""


@dataclass(frozen=True, slots=True)
class Work:
    """A command, the settings of the agent that it comes to, and who does it."""

    settings: Settings
    command: AnyCommand
    handler: Callable[[Configuration, Policy, Spool], Handler]


def scans(
    scanner: AnyScanner,
    parsers: Mapping[str, Parser],
    options: Mapping[str, Any],
    target: Path | None,
) -> Workplace:
    """Scans of a copy of `target`, or of an empty directory."""
    registry = Registry({scanner.name: scanner}, parsers)

    def work(place: Path, trial: Trial) -> Work:
        scanned = place / "target"
        if target is None:
            scanned.mkdir()
        else:
            shutil.copytree(target, scanned, symlinks=True)
        absent = str(place / "absent") if trial.without_tool else None
        section = {"name": scanner.name, "binary": absent, "config": _json(options)}
        payload = ScanPayload(
            scanner=scanner.name, target=str(scanned), timeout_seconds=trial.seconds
        )
        return Work(
            _settings(place, targets=[str(scanned)], scanners=[section]),
            ScanCommand(id=COMMAND_ID, type="scan", payload=payload),
            lambda configuration, policy, spool: ScanHandler(
                registry, configuration, policy, spool, utc_now, grace=_GRACE
            ),
        )

    return work


def commands(
    handler: AnyHandler, payload: Mapping[str, JsonValue], options: Mapping[str, Any]
) -> Workplace:
    """Commands of a plugin's own type."""
    target = handler.target(handler.payload.model_validate(payload))

    def work(place: Path, _trial: Trial) -> Work:
        name = handler.command_type
        return Work(
            _settings(
                place,
                targets=[target] if target else [],
                handlers=[{"name": name, "config": _json(options)}],
                security={"allowed_command_types": [name]},
            ),
            UnknownCommand(id=COMMAND_ID, type=name, payload=dict(payload)),
            lambda configuration, policy, spool: PluginCommandHandler(
                handler, configuration, policy, spool, grace=_GRACE
            ),
        )

    return work


def run_trials(directory: Path, trials: Sequence[Trial], workplace: Workplace) -> list[Ran]:
    """Run them beside each other. Returns what became of each, in their order."""
    base = Path(tempfile.mkdtemp(prefix="whole-way-", dir=directory))
    ran: dict[str, Ran] = {}

    async def run(trial: Trial, place: Path) -> None:
        ran[trial.what] = await _run(trial, place, workplace(place, trial))

    async def run_all() -> None:
        async with anyio.create_task_group() as tasks:
            for number, trial in enumerate(trials):
                (place := base / str(number)).mkdir()
                tasks.start_soon(run, trial, place)

    with _on_path(_programs(base / "bin", trials)):
        anyio.run(run_all)
    return [ran[trial.what] for trial in trials]


async def _run(trial: Trial, place: Path, work: Work) -> Ran:
    settings = work.settings
    work_dir = settings.state_dir / "work" / COMMAND_ID / "work"
    (place / _player.PLAY).write_text(json.dumps(trial.recording(str(work_dir))))
    policy = Policy(settings.security.allowed_command_types, settings.allowed_roots())
    spool = open_spool(settings)
    try:
        executor = Executor(
            {work.command.type: work.handler(Configuration(settings), policy, spool)},
            policy=policy,
            spool=spool,
            max_concurrent=1,
            now=utc_now,
        )
        spool.claim(COMMAND_ID)
        met = await _watched(executor, Job(work.command, 1), place / _player.ROLL, trial)
        left = _ended([process for process in met.values() if _runs(process)])
        documents = list(_for_server(spool))
    finally:
        spool.close()
    return Ran(documents[-1], documents[:-1], left)


async def _watched(
    executor: Executor, job: Job, roll: Path, trial: Trial
) -> dict[int, psutil.Process]:
    """Run it to its end. Returns every process that signed the roll."""
    met: dict[int, psutil.Process] = {}

    async def watch() -> None:
        while True:
            _meet(roll, met)
            if trial.cancelled and len(met) >= _HANGING:
                executor.cancel(COMMAND_ID, Cause.CANCELLED)
            await anyio.sleep(_LOOK_SECONDS)  # other processes set no event

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await executor.execute(job)
        tasks.cancel_scope.cancel()
    _meet(roll, met)
    return met


def _meet(roll: Path, met: dict[int, psutil.Process]) -> None:
    with suppress(FileNotFoundError):
        for line in roll.read_text().splitlines():
            if (pid := int(line)) not in met:
                with suppress(psutil.NoSuchProcess):
                    met[pid] = psutil.Process(pid)


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and is_alive(process.pid)


def _ended(processes: Sequence[psutil.Process]) -> int:
    """What the plugin has left is not left by its test. Returns how many those were."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(processes)


def _for_server(spool: Spool) -> Generator[Any]:
    """The documents of all that waits, findings before the result."""
    while (due := spool.next_due()) is not None:
        yield json.loads(due[1])
        spool.delivered(due[0])


def _settings(place: Path, **said: Any) -> Settings:
    return Settings(state_dir=place / "state", **said)


def _json(options: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Options as an operator would write them."""
    return {name: to_jsonable_python(value) for name, value in options.items()}


def _programs(directory: Path, trials: Sequence[Trial]) -> Path:
    """One program for each that was recorded."""
    directory.mkdir()
    player = map(shlex.quote, (sys.executable, "-I", "-S", str(Path(_player.__file__))))
    start = f"#!/bin/sh\nexec {' '.join(player)}"
    for name in {named.partition(" ")[0] for trial in trials for named in trial.programs}:
        if "/" in name:  # not looked up on any PATH
            continue
        program = directory / name
        program.write_text(f'{start} {shlex.quote(name)} "$@"\n')
        program.chmod(0o700)
    return directory


@contextmanager
def _on_path(directory: Path) -> Generator[None]:
    """Nothing else is found by its name meanwhile."""
    before = os.environ.get("PATH")
    os.environ["PATH"] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before
