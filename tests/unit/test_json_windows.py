"""What the window reads is what ijson reads, wherever it is cut; what it doubts, ijson decides."""

import io
import json
import subprocess  # noqa: TID251 - memory is measured in a process of its own
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rediver_agent import ReportUnreadable, items, outline
from rediver_agent.json_guard import MAX_DEPTH, is_deeper
from rediver_agent.json_places import Place, walk
from rediver_agent.json_values import FAULTS, MAX_PARTS, Doubt, is_usable
from rediver_agent.json_windows import MAX_VALUE, Window

WORDS = [
    '},{"ruleId":',
    "]",
    '"results":[',
    "\\",
    '"',
    "\n",
    "é😀",
    "",
    "x" * 40,
    "[[",
    "\x00",
    "{",
]
KEYS = ["ruleId", "results", "runs", "tool", "a", "b", "é", 'q"k', "b\\", "item", "x.y", ""]
NUMBERS = [0, -1, 7, 2**63, 2**64, 10**25, 1.5, -0.0, 1e300, 1e-5]
PATHS = [
    "",
    "version",
    "runs",
    "runs.item",
    "runs.item.results",
    "runs.item.results.item",
    "runs.item.tool",
    "runs.item.tool.a.item",
    "runs.item.tool.a.item.b",
    "results.item",
    "results.item.a.item",
    "item",
    "item.item",
    "item.ruleId",
]
LAYOUTS = [
    {"separators": (",", ":")},
    {},
    {"indent": 1},
    {"indent": 2},
    {"indent": "\t"},
    {"indent": 4, "separators": (" , ", " : ")},
]
INSERTED = [
    *(bytes([byte]) for byte in b'"\\{}[],: 0-.e'),
    b"\xff",
    b"\xed\xa0\x80",
    b"\t",
    b"\x00",
    b"1e400",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"\\ud83d\\ude00",
]

words = st.lists(st.sampled_from(WORDS), max_size=3).map("".join)
scalars = st.none() | st.booleans() | st.sampled_from(NUMBERS) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)
results = st.dictionaries(st.sampled_from(KEYS[:8]), values, min_size=1, max_size=4)
lists = st.lists(results, max_size=12) | st.lists(results | values, max_size=4)
tools = st.fixed_dictionaries({}, optional={"a": lists, "b": values})
runs = st.fixed_dictionaries({}, optional={"tool": tools, "results": lists, "other": lists})


@st.composite
def documents(draw):
    """A report's text, laid out as tools do, with its keys in any order, and some of them twice."""
    parts = {"version": scalars, "runs": st.lists(runs, max_size=3), "results": lists, "z": values}
    whole = draw(st.fixed_dictionaries({}, optional=parts) | lists | values)
    if isinstance(whole, dict):
        whole = {key: whole[key] for key in draw(st.permutations(sorted(whole)))}
    text = json.dumps(whole, ensure_ascii=draw(st.booleans()), **draw(st.sampled_from(LAYOUTS)))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n").replace('"other"', '"results"').replace('"z"', '"runs"')
    return text.encode()


@st.composite
def mutations(draw):
    """A text that was cut off, changed, added to, or left alone."""
    text = draw(documents())
    at = draw(st.integers(0, len(text)))
    new = draw(st.sampled_from(INSERTED))
    how = draw(st.sampled_from(["alone", "alone", "cut", "changed", "added", "behind"]))
    by = {"cut": text[:at], "changed": text[:at] + new + text[at + 1 :]}
    by |= {"added": text[:at] + new + text[at:], "behind": text + new}
    return by.get(how, text)


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, however many are asked for."""

    def read(self, size=-1, /):
        return super().read(min(size, 3) if size > 0 else size)


sizes = st.sampled_from([1, 2, 3, 7, 16, 33, 64, 100, 256, 1024, 2**18])
streams = st.sampled_from([io.BytesIO, io.BytesIO, Trickle])
some_paths = st.lists(st.sampled_from(PATHS), max_size=4)


def read(values):
    """What came, and what was said of the rest."""
    got = []
    try:
        got.extend(map(repr, values))  # the repr tells 1 from 1.0 and True, and -0.0 from 0.0
    except ReportUnreadable as fault:
        return got, str(fault)
    return got, None


def by_ijson(monkeypatch):
    monkeypatch.setattr("rediver_agent.jsonstream.is_usable", lambda: False)


def compare(text, built, seen, size, stream):
    with pytest.MonkeyPatch.context() as monkeypatch:
        by_ijson(monkeypatch)
        expected = [
            read(outline(io.BytesIO(text), built, seen)),
            *(read(items(io.BytesIO(text), path)) for path in built),
        ]
    found = [
        read(outline(stream(text), built, seen, window=size)),
        *(read(items(stream(text), path, window=size)) for path in built),
    ]
    for (events, fault), (expected_events, expected_fault) in zip(found, expected, strict=True):
        if expected_fault and "beyond every range" in expected_fault:
            continue  # in a value that is passed over, such a number is let be
        assert fault == expected_fault
        if fault is None:
            assert events == expected_events


def search(examples):
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=examples, deadline=None, suppress_health_check=slow)


@search(250)
@given(mutations(), some_paths, some_paths, sizes, streams)
def test_the_window_reads_what_ijson_reads_or_both_refuse(text, built, seen, size, stream):
    compare(text, built, seen, size, stream)


@pytest.mark.slow
@pytest.mark.timeout(900)
@search(10_000)
@given(mutations(), some_paths, some_paths, sizes, streams)
def test_the_window_reads_what_ijson_reads_at_length(text, built, seen, size, stream):
    compare(text, built, seen, size, stream)


def test_every_cut_of_a_report_is_found_in_the_first_pass():
    results = [{"ruleId": "a", "b": [1, {"c": "}]"}]}] * 3
    whole = json.dumps({"runs": [{"results": results}], "z": {"a": 1}}).encode()

    for end in range(len(whole)):
        for size in (16, 2**18):
            with pytest.raises(ReportUnreadable):
                list(
                    outline(io.BytesIO(whole[:end]), {"a"}, {"runs.item.results.item"}, window=size)
                )


def by_window(text, built=(), seen=(), size=2**18):
    """By the window alone: a `Doubt` is not caught."""
    root = Place("")
    for path in seen:
        root.at(path).seen = True
    for path in built:
        root.at(path).built = True
    window = Window(io.BytesIO(text), size)
    events = [(path, value) for path, values in walk(window, root) for value in values]
    window.finish()
    return events


class Shaped(msgspec.Struct):
    x: int


@pytest.mark.parametrize("size", [16, 1000, 2**18])
def test_what_is_of_the_shape_comes_as_it_and_the_rest_plain(size):
    values = [{"x": n} if n % 50 else {"x": str(n)} for n in range(500)] + ["odd", None]
    text = io.BytesIO(json.dumps({"at": values}).encode())
    pairs = outline(text, {"at.item"}, (), into={"at.item": Shaped}, window=size)
    seen_through_outline = [value for _, value in pairs]

    for found in (seen_through_outline, [*items(text, "at.item", into=Shaped, window=size)]):
        assert [{"x": each.x} if isinstance(each, Shaped) else each for each in found] == values
        assert sum(isinstance(each, Shaped) for each in found) == 490


LAID_OUT = {
    "compact": {"separators": (",", ":")},
    "pretty": {"indent": 2},
    "tabs": {"indent": "\t"},
    "spaced": {},
}


@pytest.mark.parametrize("layout", LAID_OUT.values(), ids=LAID_OUT)
@pytest.mark.parametrize("size", [1000, 2**18])
def test_a_usual_report_leaves_no_doubt(layout, size):
    places = [{"location": {"line": n, "text": '},{"ruleId":"x"}]'}} for n in range(5)]
    results = [{"ruleId": str(n), "message": "é" * (n % 90), "at": places} for n in range(500)]
    flows = [
        {"codeFlows": places, **result} if n % 7 == 0 else result
        for n, result in enumerate(results)
    ]
    text = json.dumps(
        {"other": results, "results": flows, "q\n": {"k\t": 2**70}}, **layout
    ).encode()

    assert by_window(text, ["results.item"], [""], size) == [
        ("", dict),
        *(("results.item", result) for result in flows),
    ]
    assert by_window(text, (), ["results", "results.item"], size) == [
        ("results", list),
        *[("results.item", dict)] * 500,
    ]


def test_msgspec_says_where_a_value_ends():
    assert is_usable()


def test_without_that_ijson_reads(monkeypatch):
    by_ijson(monkeypatch)

    assert list(items(io.BytesIO(b"[1, 2]"), "item")) == [1, 2]


DOUBTED = {
    "a value longer than is held": b'["' + b'x\\"' * (MAX_VALUE // 3 + 1) + b'", 1]',
    "a value of many parts": b"[[" + b"0," * MAX_PARTS + b"0]]",
    "deep nesting": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "a number out of range": b"[1e999]",
    "a number of 5,000 digits": b"[" + b"1" * 5000 + b"]",
    "half a surrogate pair": b'["\\ud800"]',
    "no UTF-8": b'["\xff"]',
    "nothing": b"",
}


@pytest.mark.parametrize("text", DOUBTED.values(), ids=DOUBTED)
def test_what_is_not_plain_is_doubted(text):
    with pytest.raises((Doubt, *FAULTS)):
        by_window(text, ["item"], [""])


@pytest.mark.parametrize("number", [b"1e999", b"1" * 5000, b"1e99999999999999999999"])
def test_numbers_of_what_is_passed_over_are_let_be(number):
    assert list(outline(io.BytesIO(b'{"a": [%b], "b": 1}' % number), ["b"], [])) == [("b", 1)]


def test_nesting_of_what_is_passed_over_is_let_be():
    text = b'{"a": ' + b"[" * 450 + b"]" * 450 + b', "b": 1}'

    assert list(outline(io.BytesIO(text), ["b"], [])) == [("b", 1)]
    with pytest.raises(ReportUnreadable, match="nested more than 200 deep"):
        list(outline(io.BytesIO(text), ["a"], []))


def test_a_key_given_twice_is_read_twice():
    text = b'{"results": [1, 2], "a": 0, "results": [3]}'

    assert list(items(io.BytesIO(text), "results.item")) == [1, 2, 3]
    assert [value for _, value in by_window(text, ["results.item"])] == [1, 2, 3]


def test_a_doubt_in_the_middle_neither_doubles_nor_loses(tmp_path):
    results = [{"n": n, "text": "x" * 500} for n in range(5000)]
    results[3000]["n"] = "HUGE"
    text = json.dumps({"results": results}).replace('"HUGE"', "1e999").encode()

    found = [result["n"] for result in items(io.BytesIO(text), "results.item")]

    assert found == [*range(3000), None, *range(3001, 5000)]


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_depth_is_measured_outside_of_texts(depth):
    text = b'{"[[":[' * depth + b'"\\\\", "\\"]}[{"' + b"]}" * depth

    assert is_deeper(text, 2 * depth - 1)
    assert not is_deeper(text, 2 * depth)


MEASURE = """
import re, sys
from pathlib import Path
from rediver_agent import items, outline

with open(sys.argv[1], "rb") as stream:
    seen = sum(1 for _ in outline(stream, {"tool"}, {"runs.item.results.item"}))
    read = sum(1 for _ in items(stream, "runs.item.results.item"))
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(seen, read, int(peak[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
@pytest.mark.parametrize("indent", [None, 2])
def test_memory_is_flat_whatever_the_size(tmp_path, indent):
    peaks = []
    for count in (2_000, 100_000):
        report = tmp_path / f"{count}.json"
        one = json.dumps({"ruleId": "r", "message": {"text": "wörds " * 60}}, indent=indent)
        with report.open("w", encoding="utf-8") as file:
            file.write('{"passed over": [' + f"{one}, " * count + '0], "runs": [{"results": [')
            file.write(", ".join([one] * count) + "]}]}")
        measured = [sys.executable, "-c", MEASURE, str(report)]
        done = subprocess.run(measured, check=True, capture_output=True, text=True)
        seen, read_again, peak = map(int, done.stdout.split())
        assert seen == read_again == count
        peaks.append(peak)

    assert peaks[1] - peaks[0] < 8
    assert peaks[1] < 64
