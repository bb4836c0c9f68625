"""Any tool's JSON becomes findings by a mapping, and what a mapping says wrong names itself."""

import io
import json

import pytest
from pydantic import ValidationError

from rediver_agent import Notice, ReportUnreadable, ToolInfo
from rediver_agent.contract import Finding
from rediver_agent.testing import parse, provided

(JSON_PARSER,) = provided("json", "parser")
LINT = {
    "tool": "lint",
    "findings": "results",
    "title": "text",
    "severity": "level",
    "location": {"path": "file", "start_line": "line"},
}
ENTRY = {"text": "bad", "level": "HIGH", "file": "a.py", "line": 3}


def mapped(mapping, document):
    parser = JSON_PARSER.with_options(JSON_PARSER.options.model_validate(mapping))
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse(parser, data)


def findings(mapping, document):
    return [event for event in mapped(mapping, document) if isinstance(event, Finding)]


def said(mapping, document):
    return [(e.level, e.message) for e in mapped(mapping, document) if isinstance(e, Notice)]


def only(mapping, **entry):
    (found,) = findings({**LINT, **mapping}, {"results": [ENTRY | entry]})
    return found


def lines(*documents):
    return b"".join(json.dumps(each).encode() + b"\n" for each in documents)


def test_ten_lines_of_yaml_make_findings_of_a_tool():
    events = mapped(LINT, {"results": [ENTRY, {**ENTRY, "text": "worse", "level": "critical"}]})

    assert events[0] == ToolInfo("lint")
    assert [(e.title, e.severity, e.location.path) for e in events[1:]] == [
        ("bad", "high", "a.py"),
        ("worse", "critical", "a.py"),
    ]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (".", [ENTRY]),
        ("", [ENTRY]),
        ("results[]", {"results": [ENTRY]}),
        ("a.b", {"a": {"b": [ENTRY]}, "b": [1]}),
        ("by.*", {"by": {"x": ENTRY}}),
        ("*", {"x": ENTRY}),
        ("files[].messages", {"files": [{"messages": []}, {"messages": [ENTRY]}]}),
        ("files.*.messages.*", {"files": {"f": {"messages": {"m": ENTRY}}}}),
        ("[].results.failed", [{"results": {"failed": [ENTRY]}}]),
        ('"a.b".item', {"a.b": {"item": [ENTRY]}}),
        ('"results"', {"results": [ENTRY]}),
    ],
)
def test_the_entries_may_stand_anywhere(path, document):
    (found,) = findings({**LINT, "findings": path}, document)

    assert (found.title, found.location.start_line) == ("bad", 3)


def test_what_the_entries_stand_in_is_known_in_any_order_of_keys():
    mapping = {
        **LINT,
        "tool": {"name": "lint", "version": "about.version"},
        "findings": "groups.*.files[].messages",
        "location": {"path": "^.name"},
        "rule_id": "^.^.@key",
        "message": "^.^.^.about.word",
    }
    first = {"messages": [ENTRY, ENTRY], "name": "a"}
    second = {"name": "b", "messages": [ENTRY]}
    document = {
        "groups": {"g": {"files": [first, {"name": "none"}, second]}, "h": {"files": [second]}},
        "about": {"version": 7, "word": "w"},
    }
    found = findings(mapping, document)

    assert [(f.location.path, f.rule_id) for f in found] == [
        ("a", "g"), ("a", "g"), ("b", "g"), ("b", "h"),
    ]  # fmt: skip
    assert {f.message for f in found} == {"w"}
    assert mapped(mapping, document)[-1] == ToolInfo("lint", "7")


def test_the_first_of_several_places_that_is_there_counts():
    mapping = {"rule_id": ["none", "empty", "list[].id", {"constant": "C"}]}

    assert only(mapping, empty="", list=[{"id": None}, {"id": "R"}]).rule_id == "R"
    assert only(mapping).rule_id == "C"


def test_each_field_takes_what_it_is_made_for():
    mapping = {
        "title": "t",
        "message": "many",
        "rule_id": "many",
        "confidence": "sure",
        "location": {"path": "file", "strip": "/src/", "start_line": "l", "start_column": "c",
                     "first_column": 0, "first_line": 0, "snippet": "code[][1]"},
        "vulnerability": {"cve_id": "ids", "cwe_ids": "cwe", "cvss_score": "s",
                          "fixed_versions": "fixed"},
        "references": "url",
        "tags": "many",
        "properties": {"raw": "code"},
    }  # fmt: skip
    entry = {
        "t": " a\n b ", "many": ["x", "y"], "sure": "High", "file": "/src/a.py", "l": "0", "c": 0,
        "code": [[1, "one\n"], [2, "two\n"]], "ids": ["GHSA-x", "cve-2024-12345"],
        "cwe": [79, "CWE-022: path", "nonsense"], "s": "7.5", "fixed": "1.2", "url": "https://x",
    }  # fmt: skip
    found = only(mapping, **entry)

    assert (found.title, found.message, found.rule_id) == ("a b", "x\ny", "x")
    assert found.confidence == 90
    place = found.location
    assert (place.path, place.start_line, place.start_column) == ("a.py", 1, 1)
    assert place.snippet == "one\ntwo"
    about = found.vulnerability
    assert (about.cve_id, about.cvss_score) == ("CVE-2024-12345", 7.5)
    assert (about.cwe_ids, about.fixed_versions) == (["CWE-79", "CWE-22"], ["1.2"])
    assert (found.references, found.tags) == (["https://x"], ["x", "y"])
    assert found.properties == {"raw": entry["code"]}


@pytest.mark.parametrize(
    ("more", "level", "severity"),
    [
        ({}, "Moderate", "medium"),
        ({"severities": {2: "high"}}, 2, "high"),
        ({"severities": {"2": "high"}}, 2.0, "high"),
        ({"severities": {True: "critical"}}, True, "critical"),
        ({"severities": {"BLOCKER": "critical"}}, "blocker", "critical"),
        ({"severities": {"low": "high"}}, "LOW", "high"),
        ({}, ["low", "high", "medium"], "high"),
        ({"severity": [{"cvss": "score"}, "level"], "score": 9.1}, "low", "critical"),
        ({"severity": [{"cvss": "score"}, "level"], "score": "n/a"}, "low", "low"),
        ({"severity": {"constant": "info"}}, "high", "info"),
        ({"default_severity": "note"}, None, "low"),
    ],
)
def test_a_severity_is_the_tools_own_word_then_the_common_one(more, level, severity):
    entry = {"level": level, "score": more.pop("score", None)}

    assert only(more, **entry).severity == severity


def test_a_severity_that_nobody_knows_is_kept_as_medium_and_named():
    document = {"results": [ENTRY | {"level": "spicy"}, ENTRY]}

    assert [found.severity for found in findings(LINT, document)] == ["medium", "high"]
    ((level, message),) = said(LINT, document)
    assert level == "warning"
    assert "'spicy' (1 times)" in message


SECRET = {
    "tool": "leaks",
    "type": "secret",
    "findings": ".",
    "title": "text",
    "default_severity": "high",
    "secret": "found",
    "location": {"path": "file", "snippet": "line"},
    "message": "line",
    "properties": {"all": "."},
    "tags": "found",
}


@pytest.mark.parametrize(
    ("secret", "line"),
    [
        ("hunter2hunter2", "k = hunter2hunter2"),
        ("-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----", "abcdefgh"),
        ('pass"word\\1', 'k = "pass\\"word\\\\1"'),
        ("  spaced out  ", "spaced out"),
        ("pa ss/ü", "https://u:pa%20ss%2F%C3%BC@host"),
        (["one-secret", "two-secret"], "one-secret two-secret"),
        (12345678, "pin 12345678"),
    ],
)
def test_nothing_of_a_secret_leaves(secret, line):
    entry = {"found": secret, "line": line, "text": f"Key {line} in file", "file": f"x/{line}"}
    (found,) = findings(SECRET, [entry])
    shown = found.model_dump_json()

    for part in secret if isinstance(secret, list) else str(secret).splitlines():
        assert part.strip() not in shown
        assert json.dumps(part.strip())[1:-1] not in shown
    assert line not in shown
    assert "***" in found.location.snippet
    assert found.secret.masked_value == "***"


def test_where_the_secret_is_not_found_no_text_is_shown():
    (found,) = findings(SECRET, [{"text": "Key k=abcdef", "line": "k=abcdef", "file": "f"}])

    assert "abcdef" not in found.model_dump_json()
    assert (found.title, found.location.path) == ("a secret of leaks", "f")
    assert said(SECRET, [{"text": "Key", "found": ""}])[0][0] == "warning"


def test_a_tool_that_shows_no_secret_keeps_its_words_but_no_source():
    mapping = SECRET | {"secret": {"secret_type": "kind"}, "properties": {}}
    (found,) = findings(mapping, [{"text": "AWS key", "line": "k=abcdef", "kind": "aws"}])

    assert (found.title, found.location.snippet) == ("AWS key", "***")
    assert found.secret.secret_type == "aws"


def test_where_says_which_entries_are_findings():
    mapping = {**LINT, "where": {"result": ["FAIL", "error"], "new": True}}
    entries = [
        ENTRY | {"result": result, "new": new}
        for result, new in (("FAIL", True), ("PASS", True), ("Error", True), ("FAIL", False))
    ]

    assert len(findings(mapping, {"results": entries})) == 2
    assert findings(mapping, {"results": entries[1:2]}) == []
    ((level, message),) = said(mapping, {"results": entries[1:2]})
    assert (level, "result: PASS (1)" in message) == ("info", True)
    with pytest.raises(ReportUnreadable, match="the mapping's where path 'new'"):
        mapped(mapping, {"results": [ENTRY | {"result": "FAIL"}]})


def test_what_the_tool_could_not_look_at_is_a_warning():
    document = {"results": [ENTRY], "errors": [{"file": "b.py", "why": "syntax"}, "c.py"]}

    assert said({**LINT, "errors": "errors"}, document) == [
        ("warning", "the tool says: file: b.py, why: syntax"),
        ("warning", "the tool says: c.py"),
    ]
    assert said({**LINT, "errors": "errors"}, {"results": [ENTRY], "errors": []}) == []


@pytest.mark.parametrize(
    ("more", "document", "words"),
    [
        ({}, {"reslts": [], "errors": []}, "'results' is not in the report; its keys are: reslts"),
        ({}, {}, "its keys are: none"),
        ({}, [ENTRY], r"there is a list, not an object with the key 'results'; write \[\] before"),
        ({}, {"results": {"a": ENTRY}}, r"there is an object, not a list; end it with \.\*"),
        ({"findings": "results.*"}, {"results": [ENTRY]}, r"not an object; end it with \[\]"),
        ({"findings": "results[].all"}, {"results": [{"al": []}]}, "it ends the keys are: al"),
        ({}, {"results": "none"}, "there is a text, not a list"),
        ({"title": "txt"}, {"results": [ENTRY]}, "title path 'txt' leads to nothing .*: text,"),
        ({"title": ["txt", "x"]}, {"results": [ENTRY]}, "title path 'txt' or 'x'"),
        ({"title": "obj"}, {"results": [ENTRY | {"obj": {}}]}, "nothing that can be used"),
        ({"severity": "levl"}, {"results": [ENTRY]}, "severity path 'levl'"),
        ({}, None, "there is null, not an object"),
        ({"findings": "."}, None, "there is null, not a list"),
        ({}, b"", "empty"),
        ({}, b"[", "cut off"),
        ({"lines": True, "findings": "."}, b"\n \n", "empty"),
        ({"lines": True, "findings": None}, b"a\nb\n", "no line of the report can be read: line 1"),
    ],
)  # fmt: skip
def test_a_wrong_path_names_itself(more, document, words):
    with pytest.raises(ReportUnreadable, match=words):
        mapped({**LINT, **more}, document)


def test_a_path_that_a_finding_can_do_without_names_itself_too():
    ((level, message),) = said({**LINT, "location": {"path": "filename"}}, {"results": [ENTRY]})

    assert level == "info"
    assert "location.path path 'filename' leads to nothing" in message
    assert "text, level, file, line" in message


def test_a_path_of_the_document_that_is_not_there_names_itself():
    mapping = {**LINT, "tool": {"name": "lint", "version": "meta.v"}, "errors": ["erors", "meta.e"]}

    version, errors = said(mapping, {"results": [ENTRY], "meta": {}})
    assert version == ("info", "the mapping's tool.version path 'meta.v' is nowhere in the report")
    assert errors[1] == "the mapping's errors path 'erors' or 'meta.e' is nowhere in the report"
    assert said(mapping, {"results": [ENTRY], "meta": {"v": None, "e": []}}) == []


def test_entries_that_lack_what_must_be_there_are_kept_and_counted():
    document = {"results": [ENTRY, {"file": "b.py"}, None, ENTRY]}
    found = findings(LINT, document)

    assert [(f.title, f.severity) for f in found][1] == ("a finding of lint", "medium")
    assert said(LINT, document) == [
        ("error", "1 of 3 entries have no title; they are kept"),
        ("error", "1 of 3 entries have no severity; they are kept"),
        ("error", "1 entries are `null`"),
    ]


def test_a_list_that_is_null_is_an_empty_one_and_that_is_said():
    assert said(LINT, {"results": None})[0][0] == "info"
    assert said(LINT, {"results": []}) == []


def test_what_is_not_as_the_path_says_is_counted():
    mapping = {**LINT, "findings": "files[].messages"}
    document = {"files": [{"messages": [ENTRY]}, {"messages": "none"}, {}]}

    assert len(findings(mapping, document)) == 1
    assert said(mapping, document)[0][0] == "error"


def test_findings_before_a_cut_are_kept():
    data = json.dumps({"results": [ENTRY] * 5}).encode()[:-20]
    for more in ({}, {"errors": "errors"}):
        parser = JSON_PARSER.with_options(JSON_PARSER.options.model_validate({**LINT, **more}))
        events = parser.parse(io.BytesIO(data))

        assert [type(next(events)) for _ in range(5)] == [ToolInfo, *[Finding] * 4]
        with pytest.raises(ReportUnreadable, match="cut off"):
            next(events)


def test_each_line_is_a_document_of_its_own():
    mapping = {**LINT, "lines": True, "findings": None}
    data = lines(ENTRY) + b"\r\n{broken\n" + lines(ENTRY, ENTRY).rstrip()

    assert len(findings(mapping, data)) == 3
    ((level, message),) = said(mapping, data)
    assert level == "error"
    assert message.startswith("1 of 4 lines cannot be read, the first of them line 2")


def test_a_line_may_hold_a_list():
    mapping = {**LINT, "lines": True, "location": {"path": "^.name"}}

    found = findings(mapping, lines({"results": [ENTRY], "name": "a"}, {"other": 1}))

    assert [each.location.path for each in found] == ["a"]


def test_a_line_that_is_too_long_costs_itself():
    mapping = {**LINT, "lines": True, "findings": None}
    long = lines({**ENTRY, "more": ["x" * 1000] * 9000})

    assert len(findings(mapping, lines(ENTRY) + long + lines(ENTRY))) == 2
    assert "longer than 8 MiB" in said(mapping, lines(ENTRY) + long)[0][1]


def test_utf_16_is_read_as_well():
    data = json.dumps({"results": [ENTRY | {"text": "größer"}]}, ensure_ascii=False)

    assert findings(LINT, data.encode("utf-16"))[0].title == "größer"


def test_a_mapped_parser_never_takes_a_report_by_itself():
    parser = JSON_PARSER.with_options(JSON_PARSER.options.model_validate(LINT))

    assert not parser.sniff(json.dumps({"results": [ENTRY]}).encode())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"locaton": {}}, "locaton"),
        ({"title": "a..b"}, "'a..b' is no path: '.b' is no step"),
        ({"title": "a."}, "'its end' is no step"),
        ({"title": "a[x]"}, "is no step"),
        ({"title": "a[0]b"}, "a dot is missing before 'b'"),
        ({"title": "a.@key"}, "@key stands alone"),
        ({"title": '"a'}, "is no step"),
        ({"title": 7}, "a path is a text like location.line, not a number"),
        ({"title": []}, "an empty list names nothing"),
        ({"title": {"constant": []}}, "a constant is a text"),
        ({"title": {"cvss": "a"}}, "write a path, {constant: …} or a list"),
        ({"title": "^.^.a"}, "leads out of the document"),
        ({"title": "^.[0]"}, "begins with a key"),
        ({"tool": {"name": "x", "version": "^.a"}}, "leads out of the document"),
        ({"findings": "^.a"}, "no \\^ and no @key"),
        ({"findings": "a[0].b"}, "not a number"),
        ({"severity": None}, "severity is missing"),
        ({"severities": {"X": "awful"}}, "'awful' is no severity"),
        ({"type": "bug"}, "one of vulnerability, secret"),
        ({"type": "secret"}, "belong together"),
        ({"where": {"a": {}}}, "write the value that an entry must have"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(more, words):
    with pytest.raises(ValidationError, match=words):
        JSON_PARSER.options.model_validate({**LINT, **more})
