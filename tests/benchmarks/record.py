"""What a run measures, how much of it, and what it could not."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Size:
    """How much is measured. Sizes of reports in MB."""

    start_rounds: int = 15
    sarif_rounds: int = 3
    sarif_sizes: tuple[float, float] = (10, 100)
    parser_rounds: int = 3
    parser_sizes: tuple[float, ...] = (10, 100)
    queue_rounds: int = 3
    jobs: int = 100
    plain_jobs: int = 1_000
    serial_seconds: float = 2
    probes: int = 20
    http_rounds: int = 3
    http_seconds: float = 2
    socket_rounds: int = 1
    sockets: int = 5_000
    socket_idle_seconds: float = 10
    backlog_sources: int = 1_000  # with 100 pending commands each
    polls: int = 200
    findings: int = 100_000
    anatomy_times: int = 20


QUICK: Final = Size(
    start_rounds=2, sarif_rounds=1, sarif_sizes=(1, 3), parser_rounds=1, parser_sizes=(1, 3),
    queue_rounds=1, jobs=20, plain_jobs=200,
    serial_seconds=1, probes=4,
    http_rounds=1, http_seconds=1, socket_rounds=1, sockets=200, socket_idle_seconds=1,
    backlog_sources=50, polls=50, findings=2_000, anatomy_times=8,
)  # fmt: skip


@dataclass
class Run:
    """What a run has measured, and what it could not. What is `ours` must not break."""

    size: Size
    ours: frozenset[str]
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    missing: list[str] = field(default_factory=list[str])

    def add(self, group: str, name: str, number: int, row: Mapping[str, Any]) -> None:
        """Keep a row of round `number`, and show it."""
        self.rows.append({"group": group, "name": name, "round": number, **row})
        shown = {key: round(value, 2) for key, value in row.items()}
        print(f"{group}, round {number}: {name}: {shown}", flush=True)

    def miss(self, what: str) -> None:
        """Name what cannot be measured, once."""
        if what not in self.missing:
            self.missing.append(what)
            print(f"not measured: {what}", flush=True)

    @contextmanager
    def peer(self, name: str) -> Generator[None]:
        """What breaks costs its own figures, unless it is ours: that is raised."""
        try:
            yield
        except Exception as fault:  # foreign code: whatever it raises, ours is still measured
            if name in self.ours or name.startswith("Rediver"):
                raise
            self.miss(f"{name} broke: {type(fault).__name__}: {fault}")
