"""The way from a source to a sink: semgrep's `dataflow_trace` as steps, in the order of the data.

A trace is `["CliLoc", [place, code]]`, or `["CliCall", [[place, code], variables, trace]]`: a call,
and what goes on in the function that is called. To a source one comes out of calls, to a sink one
goes into them.
"""

from typing import Any, Final

from rediver_semgrep._values import array, place, table, text

MAX_STEPS: Final = 200
MAX_CALLS: Final = 50  # one within the other
MAX_CODE: Final = 2000


def steps(trace: object) -> list[dict[str, Any]]:
    """The fields of `DataFlowStep`s. What is none is left out."""
    flow = table(trace)
    source = _trace(flow.get("taint_source"), "source", MAX_CALLS)
    through = _variables(flow.get("intermediate_vars"))
    sink = _trace(flow.get("taint_sink"), "sink", MAX_CALLS)
    return [*reversed(source), *through, *sink][:MAX_STEPS]


def _trace(trace: Any, end: str, calls: int) -> list[dict[str, Any]]:
    """The steps from outside to inside."""
    match trace:
        case ["CliLoc", [where, code]]:
            return _step(where, code, end)
        case ["CliCall", [[where, code], variables, inner]] if calls:
            between = _variables(variables)
            if end == "source":
                between.reverse()
            call = _step(where, code, "call")
            return [*call, *between, *_trace(inner, end, calls - 1)]
        case _:
            return []


def _variables(variables: object) -> list[dict[str, Any]]:
    return [
        step
        for variable in map(table, array(variables)[:MAX_STEPS])
        for step in _step(variable.get("location"), variable.get("content"), "variable")
    ]


def _step(where: object, code: object, message: str) -> list[dict[str, Any]]:
    about = table(where)
    line = place(table(about.get("start")).get("line"))
    path = text(about.get("path"))
    if not path or line is None:
        return []
    return [
        {
            "path": path,
            "start_line": line,
            "end_line": max(place(table(about.get("end")).get("line")) or line, line),
            "snippet": text(code)[:MAX_CODE] or None,
            "message": message,
        }
    ]
