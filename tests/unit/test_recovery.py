"""A starting agent brings the state directory of its predecessor into order."""

import os
from datetime import timedelta

import anyio

from rediver_agent.agent import utc_now
from rediver_agent.recovery import recover
from rediver_agent.spool import Spool


def test_work_that_was_left_long_ago_goes_and_what_may_be_in_use_stays(tmp_path):
    spool = Spool(tmp_path, now=utc_now)
    for name, days in (("probe-old", 8), ("scan_old", 30), ("scan_now", 0)):
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "report.json").touch()
        then = (utc_now() - timedelta(days=days)).timestamp()
        os.utime(tmp_path / "work" / name, (then, then))

    anyio.run(recover, spool, tmp_path, utc_now)
    spool.close()

    assert [path.name for path in (tmp_path / "work").iterdir()] == ["scan_now"]
