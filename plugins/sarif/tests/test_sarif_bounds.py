"""A SARIF report costs the same memory whatever its size and its order of keys; excess is cut."""

import json
import subprocess  # noqa: TID251 - memory is measured in a process of its own
import sys
from itertools import repeat

import pytest

from rediver_agent import ReportUnreadable

MEASURE = """
import re, sys
from pathlib import Path
from rediver_sarif import SarifParser

with open(sys.argv[1], "rb") as stream:
    count = sum(1 for event in SarifParser().parse(stream))
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(count, int(peak[1]) // 1024)
"""
TOOL = {"driver": {"name": "lint", "rules": [{"id": f"R{n}"} for n in range(50)]}}


def measured(path):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], check=True, capture_output=True, text=True
    )
    return map(int, done.stdout.split())


def write(path, megabytes, one_more, before="", after=""):
    """A report whose `results`, or whatever `before` opens, is as long as that."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"version": "2.1.0", "runs": [{' + before)
        count = 0
        while file.tell() < megabytes * 1_000_000:
            file.write(("," if count else "") + json.dumps(one_more(count)))
            count += 1
        file.write(after + "}]}")
    return count


def a_result(number):
    region = {"startLine": number + 1, "snippet": {"text": f"eval(x{number}) " * 8}}
    place = {"artifactLocation": {"uri": f"src/{number}.py"}, "region": region}
    return {
        "ruleId": f"R{number % 50}",
        "message": {"text": "words " * 40},
        "locations": [{"physicalLocation": place}],
    }


def a_rule(number):
    words = f"rule number {number} " * 20
    return {
        "id": f"CVE-2024-{number:06}",
        "fullDescription": {"text": words},
        "help": {"text": words},
    }


def an_artifact(number):
    return {"location": {"uri": f"src/folder/{number}.py"}}


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
@pytest.mark.parametrize(
    ("megabytes", "one_more", "before", "after"),
    [
        (15, a_result, '"results": [', f'], "tool": {json.dumps(TOOL)}'),
        (15, a_rule, '"tool": {"driver": {"name": "lint", "rules": [', ']}}, "results": []'),
        (6, an_artifact, '"results": [], "artifacts": [', "]"),
    ],
    ids=["results before their rules", "rules", "artifacts"],
)
def test_memory_is_flat_whatever_the_report_is_long_of(
    tmp_path, megabytes, one_more, before, after
):
    small, large = tmp_path / "small.sarif", tmp_path / "large.sarif"
    write(small, 2, one_more, before, after)
    written = write(large, megabytes, one_more, before, after)
    _, small_peak = measured(small)
    events, large_peak = measured(large)

    assert events >= (written if one_more is a_result else 1)
    assert large_peak - small_peak < 8
    assert large_peak < 64


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_any_number_of_rules_may_be_used_and_each_is_found_at_once(tmp_path):
    path = tmp_path / "large.sarif"
    opening = '"tool": {"driver": {"name": "lint", "rules": ['
    with path.open("w", encoding="utf-8") as file:
        file.write('{"version": "2.1.0", "runs": [{' + opening)
        file.write(",".join(json.dumps(a_rule(number)) for number in range(10_000)))
        file.write(']}}, "results": [')
        used = (a_result(number) | {"ruleId": a_rule(number)["id"]} for number in range(10_000))
        file.write(",".join(map(json.dumps, used)) + "]}]}")
    events, peak = measured(path)

    assert events == 10_001
    assert peak < 64


HOSTILE = {
    "bases that rest on each other": {
        "originalUriBaseIds": {
            f"B{n}": {"uri": "x/", "uriBaseId": f"B{n + 1}"} for n in range(9999)
        }
    },
    "roots": {"originalUriBaseIds": {f"B{n}": {"uri": f"file:///r{n}/"} for n in range(9999)}},
    "taxonomies": {"taxonomies": [{"name": f"T{n}"} for n in range(9999)]},
}


@pytest.mark.parametrize("run", HOSTILE.values(), ids=HOSTILE)
def test_much_of_what_is_looked_through_costs_each_result_little(findings, a_result, run):
    taxa = [{"id": str(n), "toolComponent": {"name": f"T{9000 + n}"}} for n in range(50)]
    found = findings(
        *(a_result("R1", f"file:///elsewhere/{n}.py", taxa=taxa) for n in range(2000)), **run
    )

    assert len(found) == 2000


LONG = "x" * 3900


def overrides(count, **more):
    descriptor = {key: f"{n}{LONG}" for n, key in enumerate(("id", "guid", "name"))}
    one = {"descriptor": descriptor, "configuration": {"level": "note"}} | more
    return [{"ruleConfigurationOverrides": [one] * count}]


@pytest.mark.parametrize(
    "run",
    [
        {"originalUriBaseIds": {f"B{n}": {"uri": f"{n}/{LONG}"} for n in range(250)}},
        {"invocations": overrides(400)},
    ],
    ids=["bases", "overrides"],
)
def test_what_is_held_of_all_runs_is_limited(events, sarif, run):
    one = sarif(**run)["runs"]

    assert events({"version": "2.1.0", "runs": one * 2})
    with pytest.raises(ReportUnreadable, match="more base ids and overrides than are read"):
        events({"version": "2.1.0", "runs": one * 10})


def test_of_an_override_only_what_counts_is_held(findings, a_result):
    much = {"level": "error", "parameters": {"text": LONG * 50}}
    override = {"descriptor": {"id": "R1"}, "configuration": much, "properties": {"text": LONG}}
    overriding = [{"ruleConfigurationOverrides": [override] * 60}]

    (found,) = findings(a_result("R1"), rules=[{"id": "R1"}], invocations=overriding)

    assert found.severity == "high"


def deep(levels, inner):
    for _ in range(levels):
        inner = {"deeper": [inner]}
    return inner


def test_excess_is_cut_to_what_the_contract_takes(findings, a_result):
    place = {"physicalLocation": {"artifactLocation": {"uri": "x" * 10_000}}}
    step = {"location": place | {"message": {"text": "y" * 200_000}}}
    steps = [step, *repeat({"location": place}, 599)]
    (found,) = findings(
        a_result(
            "r" * 5000,
            message={"text": "m" * 500_000},
            relatedLocations=[*repeat(place, 500)],
            codeFlows=[{"threadFlows": [{"locations": steps}]}],
            properties={
                "tags": [*map(str, range(500))],
                "list": [*range(5000)],
                "deep": deep(90, 1),
            },
        )
    )

    assert len(found.rule_id) == 1000
    assert len(found.message) == 100_000
    assert len(found.title) == 1000
    assert len(found.related_locations) == 100
    assert len(found.data_flow) == 500
    assert len(found.data_flow[0].message) == 100_000
    assert len(found.tags) == 50
    assert len(found.properties["list"]) == 50
    assert json.dumps(found.properties["deep"]).count("deeper") <= 3
