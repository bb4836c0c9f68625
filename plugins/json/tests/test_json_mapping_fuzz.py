"""Whatever a report and a mapping hold, nothing is raised but the parser's own sentence."""

import json
from collections import ChainMap
from contextlib import suppress
from pathlib import Path

import yaml
from depth import DEPTH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rediver_agent.configured_parsers import by_file
from rediver_agent.contract import Finding
from rediver_agent.errors import ConfigurationError, ReportUnreadable
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry
from rediver_agent.testing import parse, provided

(JSON_PARSER,) = provided("json", "parser")
REGISTRY = build_registry(load_plugins())

keys = st.sampled_from(["a", "b", "c.d", "", "item"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["high", "CVE-2024-1234", "79", "\ud800", "\0", 10**400, "x" * 2000])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, min_size=1, max_size=4)
many = st.lists(objects | scalars, max_size=3) | st.dictionaries(keys, objects, max_size=3)
reports = st.one_of(
    values,
    many,
    st.fixed_dictionaries({"a": many}, optional={"b": values}),
    st.fixed_dictionaries({"b": st.lists(st.fixed_dictionaries({"a": many}), max_size=2)}),
    st.lists(st.fixed_dictionaries({"a": st.fixed_dictionaries({"b": many})}), max_size=2),
)
steps = st.sampled_from(["a", "b", '"c.d"', "item", "*", "[]", "[0]", "[-1]"])
paths = st.lists(steps, max_size=3).map(".".join)
places = paths | st.just("@key") | st.tuples(st.just("^."), paths).map("".join)
constants = st.integers() | st.booleans() | st.sampled_from(["high", "x" * 2000, "\ud800", "\0"])
sources = places | st.fixed_dictionaries({"constant": constants})
fields = sources | st.lists(sources, min_size=1, max_size=2)
entry_lists = st.sampled_from([".", "*", "a", "a.*", "b[].a", "*.a[]", "[].a.b"])


def section(*names):
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, fields))


def some(**optional):
    return st.fixed_dictionaries({}, optional=optional)


mappings = st.builds(
    lambda *parts: {"tool": "t", "default_severity": "low"} | dict(ChainMap(*parts)),
    st.fixed_dictionaries({"title": fields, "findings": entry_lists}),
    some(lines=st.booleans(), severity=fields | st.fixed_dictionaries({"cvss": paths})),
    some(message=fields, confidence=fields, tags=fields, errors=st.sampled_from(["a", "b[]"])),
    some(location=section("path", "start_line", "end_column", "snippet")),
    some(vulnerability=section("cve_id", "cwe_ids", "cvss_score", "fixed_versions")),
    some(properties=st.dictionaries(keys, fields, max_size=2)),
    some(where=st.dictionaries(paths, constants, max_size=1)),
)
CUTS = st.sampled_from([0, 0, 0, 0, 1, 5])
secret_mappings = st.builds(
    lambda mapping, secret: {**mapping, "type": "secret", "secret": secret}, mappings, places
)


@settings(deadline=None, max_examples=400 * DEPTH, suppress_health_check=list(HealthCheck))
@given(mappings | secret_mappings, st.lists(reports, min_size=1, max_size=2), CUTS)
def test_any_json_by_any_mapping_is_read_or_refused(mapping, documents, cut):
    try:
        options = JSON_PARSER.options.model_validate(mapping)
    except ValidationError:
        return  # it cannot be meant
    documents = documents if mapping.get("lines") else documents[:1]
    data = b"\n".join(json.dumps(each).encode() for each in documents)
    with suppress(ReportUnreadable):
        for event in parse(JSON_PARSER.with_options(options), data[: len(data) - cut]):
            if isinstance(event, Finding):
                Finding.model_validate_json(event.model_dump_json())


words = st.sampled_from(["hunter2 secret", "pa/ss wörd", 'k"ey\\9', "line-one\nline-two", 987654])
wrapped = st.tuples(st.text(max_size=5), words.map(str), st.text(max_size=5)).map("".join)
entries = st.fixed_dictionaries(
    {"found": words}, optional=dict.fromkeys("abcd", wrapped | st.lists(wrapped, max_size=2))
)


@settings(deadline=None, max_examples=100 * DEPTH)
@given(entries, st.lists(st.sampled_from("abcd"), min_size=8, max_size=8))
def test_a_secret_leaves_by_no_field(entry, names):
    entry = {key: _with(value, entry["found"]) for key, value in entry.items()}
    mapping = {
        "tool": "t", "type": "secret", "findings": ".", "secret": "found",
        "title": [names[0], {"constant": "t"}], "severity": [names[1], {"constant": "low"}],
        "message": names[2], "rule_id": names[3], "location": {"path": names[4], "snippet": "a"},
        "tags": names[5], "properties": {"all": ".", "one": names[6]},
        "remediation": {"fix_code": names[7]}, "references": "found",
    }  # fmt: skip
    parser = JSON_PARSER.with_options(JSON_PARSER.options.model_validate(mapping))
    shown = "".join(map(repr, parse(parser, json.dumps([entry]).encode())))

    assert str(entry["found"]) not in shown
    assert repr(str(entry["found"]))[1:-1] not in shown


def _with(value, found):
    """The same value, with no other secret in it than the entry's own."""
    if isinstance(value, list):
        return [_with(each, found) for each in value]
    return value if str(found) in str(value) else f"about {found}!" if value != found else found


documents = st.recursive(
    scalars | st.sampled_from([yaml.SafeLoader, float("nan")]).map(str),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(list(JSON_PARSER.options.model_fields)) | scalars, inner, max_size=4
        )
    ),
    max_leaves=10,
)
texts = (
    st.text(max_size=60)
    | documents.map(lambda document: yaml.safe_dump(document, allow_unicode=True))
    | st.sampled_from(
        [
            "&a {tool: *a}",
            "tool: &a [*a]",
            "properties: &a {x: *a}",
            "title: 2024-99-99",
            "tool: x\ntool: y",
            "? [a]\n: b",
            "? {a: b}\n: b",
            "[" * 3000,
            "a: !!python/object:os.system x",
            "tool: 0x1F\ntitle: !!binary aGk=",
            "title: !!set {a, b}",
        ]
    )
)


@settings(
    deadline=None,
    max_examples=150 * DEPTH,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=texts)
def test_any_text_as_a_mapping_is_one_or_a_sentence(tmp_path, text):
    file = Path(tmp_path) / "mapping.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(ConfigurationError):
        by_file(REGISTRY, "json", file)
