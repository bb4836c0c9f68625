"""The gunicorn master: `serve` executes this afresh, with gunicorn's options.

It imports nothing of the server. Its workers do, once gevent has patched what it patches.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import gevent
from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.workers.ggevent import GeventWorker
from gunicorn.workers.gthread import ThreadWorker


class Threads(ThreadWorker):
    """For SQLite."""

    handle_quit = ThreadWorker.handle_exit  # Ctrl-C stops it like SIGTERM: with a goodbye


class Greenlets(GeventWorker):
    """For PostgreSQL. Lets go of idle kept-alive connections when it stops: each would delay it."""

    handle_quit = GeventWorker.handle_exit
    _waits: Final = WeakKeyDictionary[Any, Any]()

    def timeout_ctx(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the stub says None
        self._waits[gevent.getcurrent()] = waits = super().timeout_ctx()
        return waits

    def notify(self) -> None:
        """Called every second, while it waits for its connections to end too."""
        super().notify()
        for greenlet, waits in () if self.alive else list(self._waits.items()):
            if waits.pending:  # for the next request
                greenlet.kill(waits, block=False)


class Gunicorn(BaseApplication):
    """gunicorn with exactly these options: no file and no folder of the caller's has a say."""

    def load_config(self) -> None:
        hooks = {"post_worker_init": _start, "child_exit": _forget_gauges, "on_exit": _forget_all}
        for name, value in (json.loads(sys.argv[1]) | hooks).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return util.import_app("rediver_server.background:Service()")


def _start(worker: Any) -> None:
    worker.wsgi.start(worker)


def _forget_gauges(_arbiter: Any, worker: Any) -> None:
    """What a dead worker had open, it has no more: `prometheus_client` asks for this."""
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        for file in Path(folder).glob(f"gauge_live*_{worker.pid}.db"):
            file.unlink(missing_ok=True)


def _forget_all(arbiter: Any) -> None:
    """Several workers share a folder that `serve` has made."""
    if arbiter.cfg.workers > 1:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


if __name__ == "__main__":
    Gunicorn().run()
