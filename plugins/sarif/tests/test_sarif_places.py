"""Where a SARIF result is: paths from what was scanned, lines from 1, columns in code points."""

import pytest

ROOTED = {"ROOT": {"uri": "file:///home/build/proj/"}}
CHAIN = {
    **ROOTED,
    "PKG": {"uri": "pkg/", "uriBaseId": "ROOT"},
    "SRC": {"uri": "src", "uriBaseId": "PKG"},
}
LOOP = {"A": {"uri": "a/", "uriBaseId": "B"}, "B": {"uri": "b/", "uriBaseId": "A"}}
NESTED = {"HOME": {"uri": "file:///home/"}, "%SRCROOT%": {"uri": "file:///home/me/co"}}


def at(a_result, location):
    return a_result(locations=[{"physicalLocation": location}])


def file(uri, base=None):
    return {"artifactLocation": {"uri": uri} | ({"uriBaseId": base} if base else {})}


@pytest.mark.parametrize(
    ("uri", "base", "bases", "path"),
    [
        ("src/a.py", None, {}, "src/a.py"),
        ("./a/./b/../c.py", None, {}, "a/c.py"),
        ("a%20b.c", None, {}, "a b.c"),
        ("gr%C3%B6%C3%9Fe.ts", None, {}, "größe.ts"),
        ("100%.txt", None, {}, "100%.txt"),
        (r"src\win\a.c", None, {}, "src/win/a.c"),
        ("a.py", "%SRCROOT%", {}, "a.py"),
        ("%SRCROOT%/a.py", None, {}, "a.py"),
        ("util/io.py", "SRC", CHAIN, "pkg/src/util/io.py"),
        ("setup.py", "ROOT", CHAIN, "setup.py"),
        ("lost.py", "NOWHERE", CHAIN, "lost.py"),
        ("a.py", "A", LOOP, "b/a/a.py"),
        ("file:///home/build/proj/x/y.c", None, ROOTED, "x/y.c"),
        ("/home/build/proj/x/y.c", None, ROOTED, "x/y.c"),
        ("file:///home/me/co/x.c", None, NESTED, "x.c"),
        ("file:///home/you/x.c", None, NESTED, "you/x.c"),
        ("a.ts", "R", {"R": {"uri": "https://git.example/o/r/blob/0/"}}, "a.ts"),
        ("x.aspx", "SITE", {"SITE": {"description": {"text": "unknown"}}}, "x.aspx"),
        ("benchmark://cis/x", None, {}, "benchmark://cis/x"),
        ("", None, {}, None),
        ("", "ROOT", ROOTED, None),
        (None, None, {}, None),
        (5, None, "not an object", None),
    ],
)
def test_an_address_becomes_a_path_relative_to_the_root(findings, a_result, uri, base, bases, path):
    (found,) = findings(at(a_result, file(uri, base)), originalUriBaseIds=bases)

    assert (found.location and found.location.path) == path
    assert "sarif" not in found.properties


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("a/../../b.c", "b.c"),
        ("%2e%2e/b.c", "b.c"),
        (r"..\..\b.c", "b.c"),
        ("/etc/passwd", "etc/passwd"),
        ("//etc/passwd", "etc/passwd"),
        ("file:///C:/win/a.c", "C:/win/a.c"),
        (r"C:\win\..\..\..\a.c", "a.c"),
        ("file://host/share/a.c", "host/share/a.c"),
        ("file://localhost/a.c", "a.c"),
        ("https://example.org/../../a.js", "https://a.js"),
    ],
)
def test_no_path_leads_out_and_the_address_is_kept(findings, a_result, uri, path):
    (found,) = findings(at(a_result, file(uri)))

    assert found.location.path == path
    assert found.properties == {"sarif": {"uri": uri}}


def test_the_tools_working_directory_is_a_root(findings, a_result):
    invocations = [{"workingDirectory": {"uri": "file:///home/me/dd"}}]
    (found,) = findings(at(a_result, file("file:///home/me/dd/a.sh")), invocations=invocations)

    assert found.location.path == "a.sh"


def test_a_file_may_be_named_by_its_place_among_the_artifacts(findings, a_result):
    artifacts = [
        {"location": {"uri": "zero.c"}},
        {"length": 5},
        {"location": {"uri": "two.c", "uriBaseId": "ROOT"}},
    ]
    places = [{"artifactLocation": {"index": index}} for index in (0, 1, 2, 99, -1)]
    found = findings(
        *(at(a_result, place | {"region": {"startLine": 1}}) for place in places),
        artifacts=artifacts,
        originalUriBaseIds=ROOTED,
    )

    assert [each.location.path for each in found] == ["zero.c", None, "two.c", None, None]


@pytest.mark.parametrize("locations", [None, [], [{}], ["x"], [{"physicalLocation": None}], {}])
def test_a_result_without_a_place_is_a_finding(findings, a_result, locations):
    (found,) = findings(a_result(locations=locations))

    assert found.location is None


def test_a_logical_place_is_kept(findings, a_result):
    found = findings(
        a_result(locations=[{"logicalLocations": [{"fullyQualifiedName": "a::b"}]}]),
        a_result(locations=[{"logicalLocations": [{"index": 1}]}]),
        logicalLocations=[{"name": "zero"}, {"name": "one"}],
    )

    assert [each.properties["sarif"]["logicalLocation"] for each in found] == ["a::b", "one"]


@pytest.mark.parametrize(
    ("region", "place"),
    [
        ({"startLine": 5, "endLine": 6, "startColumn": 2, "endColumn": 1}, (5, 6, 2, 1)),
        ({"startLine": 3.0}, (3, None, None, None)),
        ({"startLine": 5, "endLine": 2, "endColumn": 9}, (5, None, None, None)),
        ({"startLine": 5, "startColumn": 9, "endColumn": 3}, (5, None, 9, None)),
        ({"startLine": 0}, None),
        ({"startLine": -4}, None),
        ({"startLine": 10**30}, None),
        ({"startLine": 2**31}, None),
        ({"startLine": "12"}, None),
        ({"startLine": True}, None),
        ({"charOffset": 60}, None),
        ("5", None),
    ],
)
def test_lines_and_columns_are_numbers_from_one(findings, a_result, region, place):
    (found,) = findings(at(a_result, file("a.c") | {"region": region}))
    where = found.location

    assert (where.start_line, where.end_line, where.start_column, where.end_column) == (
        place or (None,) * 4
    )


LINE = "/* 😀 */ bad(é)"


@pytest.mark.parametrize(
    ("run", "start", "end"),
    [
        ({"columnKind": "utf16CodeUnits"}, 10, 16),
        ({}, 10, 16),
        ({"columnKind": "unicodeCodePoints"}, 9, 15),
        ({"tool": "Semgrep OSS"}, 12, 19),
    ],
)
@pytest.mark.parametrize("around", ["snippet", "contextRegion"])
def test_columns_are_counted_in_code_points(findings, a_result, run, start, end, around):
    region = {"startLine": 4, "startColumn": start, "endColumn": end}
    place = file("u.js") | {"region": region}
    if around == "snippet":
        region["snippet"] = {"text": LINE}
    else:
        text = f"above\n{LINE}\nbelow"
        place["contextRegion"] = {"startLine": 3, "snippet": {"text": text}}
    (found,) = findings(at(a_result, place), **run)

    assert found.location.snippet == LINE
    assert LINE[found.location.start_column - 1 : found.location.end_column - 1] == "bad(é)"


def test_columns_stay_where_their_line_is_not_at_hand(findings, a_result):
    exact = {"startLine": 4, "startColumn": 10, "endColumn": 12, "snippet": {"text": "😀"}}
    short = {"startLine": 4, "startColumn": 90, "endColumn": 95, "snippet": {"text": "😀"}}
    found = findings(
        *(at(a_result, file("u.js") | {"region": region}) for region in (exact, short))
    )

    assert [each.location.start_column for each in found] == [10, 90]
    assert [each.location.end_column for each in found] == [12, 95]


@pytest.mark.parametrize("snippet", [{"text": "requires login"}, {"text": ""}, {}, None, "text"])
def test_what_is_no_snippet_is_not_taken_for_one(findings, a_result, snippet):
    region = {"startLine": 4, "snippet": snippet}
    (found,) = findings(at(a_result, file("a.c") | {"region": region}))

    assert found.location.snippet is None


def test_other_places_are_related_and_a_flow_is_told_step_by_step(findings, a_result):
    def place(uri, **more):
        return {"physicalLocation": file(uri) | {"region": {"startLine": 1}}, **more}

    steps = [
        {"location": place("f.py", message={"text": "in"})},
        {"index": 1},
        {"location": place("h.py")},
    ]
    (found,) = findings(
        a_result(
            locations=[place("main.py"), place("too.py")],
            relatedLocations=[place("rel.py", message={"text": "declared"})],
            codeFlows=[{"threadFlows": []}, {"threadFlows": [{"locations": steps}]}],
        ),
        threadFlowLocations=[{}, {"location": place("g.py")}],
    )

    assert found.location.path == "main.py"
    assert [(one.path, one.message) for one in found.related_locations] == [
        ("too.py", None),
        ("rel.py", "declared"),
    ]
    assert [(step.path, step.message) for step in found.data_flow] == [
        ("f.py", "in"),
        ("g.py", None),
        ("h.py", None),
    ]


def test_a_step_that_names_only_a_function_is_told_by_its_name(findings, a_result):
    steps = [{"location": {"logicalLocations": [{"index": 0}]}}, {"location": {}}]
    (found,) = findings(
        a_result(codeFlows=[{"threadFlows": [{"locations": steps}]}]),
        logicalLocations=[{"fullyQualifiedName": "Request.get_Form()"}],
    )

    assert [(step.path, step.message) for step in found.data_flow] == [(None, "Request.get_Form()")]


def test_a_region_without_lines_keeps_its_offsets(findings, a_result):
    place = file("a.bin") | {"region": {"byteOffset": 16, "byteLength": 4, "charOffset": -1}}
    (found,) = findings(at(a_result, place))

    assert found.location.path == "a.bin"
    assert found.properties == {"sarif": {"region": {"byteOffset": 16, "byteLength": 4}}}


def test_what_was_analysed_stands_for_a_place_that_is_not_told(findings, a_result):
    found = findings(
        a_result(locations=[], analysisTarget={"uri": "lib/a.dll"}),
        a_result(analysisTarget={"uri": "lib/a.dll"}),
    )

    assert [each.location.path for each in found] == ["lib/a.dll", "src/a.py"]
