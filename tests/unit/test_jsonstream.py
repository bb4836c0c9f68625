"""JSON is read piece by piece, in flat memory, and a fault of the text is always the same error."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rediver_agent import ReportUnreadable, items, outline, rewound, top_level
from rediver_agent.json_guard import MAX_DEPTH, MAX_TEXT
from rediver_agent.jsonstream import MAX_PARTS

SMILE = "é😀"
LARGE = 10**30

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text('ab.[]{}"\\', max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


class Trickle(io.BytesIO):
    """Gives one byte at a time, so that every seam between two chunks is tried."""

    def read(self, size=-1, /):
        return super().read(1 if size > 16 else size)


def read(data, path="item"):
    return list(items(io.BytesIO(data), path))


def seen(data, built=(), seen=()):
    return list(outline(io.BytesIO(data), built, seen))


@settings(deadline=None)  # the machine may be busy
@given(st.lists(values, max_size=5))
def test_what_was_written_is_read(written):
    text = json.dumps(written).encode()

    assert read(text) == written
    assert list(items(Trickle(text), "item")) == written
    assert seen(text, built=[""]) == [("", written)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(encoding):
    assert read(json.dumps([SMILE], ensure_ascii=False).encode(encoding)) == [SMILE]
    assert list(items(Trickle(f'["{SMILE}"]'.encode(encoding)), "item")) == [SMILE]


def test_a_stream_is_read_from_its_start_each_time():
    stream = io.BytesIO(b"[1, 2]")

    assert [list(items(stream, "item")), list(items(stream, "item"))] == [[1, 2], [1, 2]]
    assert rewound(stream).read(2) == b"[1"


def test_numbers_that_c_cannot_hold_are_read_by_python():
    text = f'[1, {LARGE}, 2.5, 1e999, {{"a": [0.5]}}]'.encode()

    assert read(text) == [1, LARGE, 2.5, None, {"a": [0.5]}]
    assert seen(text, built=["item"], seen=[""])[1:3] == [("item", 1), ("item", LARGE)]


FAULTS = {
    "nothing": b"",
    "blank space": b"  ",
    "a sentence": b"FATAL: no memory",
    "text after the document": b"[1] 2",
    "a text that has no end after the document": b'[1] "',
    "a cut": b'[{"a": 1}, {"a"',
    "not a number": b"[NaN]",
    "bytes that are no UTF-8": b'["\xff"]',
    "half a surrogate pair": b'["\\udc00"]',
    "UTF-16 of an odd length": "[1]".encode("utf-16")[:-1],
    "an exponent beyond reason": b"[1e99999999999999999999]",
    "a number of many digits": b"[" + b"9" * 5000 + b"]",  # it crashes ijson itself
    "deep arrays": b"[" * 30_000,
    "deep arrays that are closed": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 30_000,
    "deep across two chunks": b"[" * 150 + b" " * 2**18 + b"[" * 100 + b"]" * 250,
    "a long text": b'["' + b"x" * (MAX_TEXT + 2**19) + b'"]',
    "a long text of quotes": b'["' + b'\\"' * MAX_TEXT + b'"]',
}


@pytest.mark.parametrize("text", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_text_is_an_unreadable_report(text):
    with pytest.raises(ReportUnreadable):
        read(text)
    with pytest.raises(ReportUnreadable):
        seen(text, built=[""])


def test_an_error_does_not_quote_the_report():
    with pytest.raises(ReportUnreadable) as error:
        read(b'["hunter2" oops')

    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


def test_an_error_is_words_whatever_the_bytes_are():
    for text in (b'["\\\xff"]', b"[1e99999999999999999999]"):
        with pytest.raises(ReportUnreadable) as error:
            read(text)
        assert "<class" not in str(error.value)
        assert "b'" not in str(error.value)
        assert 'b"' not in str(error.value)


@pytest.mark.parametrize("text", ['["]", "[", "{\\"", "\\\\"]', '[{"a]": []}, [[], {}]]'])
def test_brackets_in_texts_are_not_nesting(text):
    assert read(f"[{','.join([text] * 300)}]".encode()) == [json.loads(text)] * 300


def test_nesting_up_to_the_limit_is_read():
    depth = MAX_DEPTH - 1
    (value,) = read(b"[" * depth + b"]" * depth)

    assert json.dumps(value).count("[") == depth - 1


def test_an_outline_tells_what_is_where_in_the_order_of_the_document():
    text = b'{"n": 7, "runs": [{"results": [{"x": [1]}, 5, null]}, {"results": 42}, 3], "z": {}}'

    assert seen(text, built=["n"], seen=["", "runs", "runs.item", "runs.item.results.item"]) == [
        ("", dict),
        ("n", 7),
        ("runs", list),
        ("runs.item", dict),
        ("runs.item.results.item", dict),
        ("runs.item.results.item", int),
        ("runs.item.results.item", type(None)),
        ("runs.item", dict),
        ("runs.item", int),
    ]


def test_no_key_is_mistaken_for_a_path():
    text = b'{"a.b": 1, "a": {"item": 2, "b": 3}, "": 4}'

    assert seen(text, built=["a.b", "a.item"]) == [("a.b", 3)]
    assert read(text.replace(b"4", b"1e999"), "a.b") == [3]


def test_a_value_of_too_many_parts_is_refused_before_it_is_built():
    text = b'{"a": [' + b"0," * MAX_PARTS + b"0, 0]}"

    for how in ({"built": ["a"]}, {"seen": ["a"]}):
        with pytest.raises(ReportUnreadable, match="at a has more than 500,000 parts"):
            seen(text, **how)
    assert seen(text, built=["b"]) == []


def test_a_value_of_long_texts_is_refused_before_it_is_built():
    text = b'{"a": [' + b'"%b", ' % (b"x" * 2**20) * 17 + b"0]}"

    for how in ({"built": ["a"]}, {"seen": ["a"]}):
        with pytest.raises(ReportUnreadable, match="at a has more than 500,000 parts, or texts"):
            seen(text, **how)
    with pytest.raises(ReportUnreadable, match="at a has more than 500,000 parts, or texts"):
        read(text, "a")
    assert len(seen(text, built=["a.item"])) == 18


def test_a_long_key_on_the_way_is_refused():
    assert seen(b'{"%b": 1}' % (b"k" * 1000), seen=[""]) == [("", dict)]
    with pytest.raises(ReportUnreadable, match="a key"):
        seen(b'{"%b": 1, "a": {}}' % (b"k" * 1001), built=["a"], seen=[""])


@pytest.mark.parametrize("text", ['{"KEY": 1}', '{"a": {"KEY": 1}}', '{"b": [{"KEY": 1}]}'])
def test_a_long_key_never_comes_to_ijson(text):
    doubted = text.replace("KEY", "k" * 1001)[:-1] + ', "c": 1e999}'

    with pytest.raises(ReportUnreadable, match="a key"):
        seen(doubted.encode(), built=["b", "c"], seen=["", "a"])
    with pytest.raises(ReportUnreadable, match="a key"):
        read(doubted.encode(), "c")


def test_the_top_level_is_known_from_the_head():
    whole = b'{"version": "2.1.0", "runs": [{"version": 1}], "n": 5, "o": {"p": 1}, "last": true}'

    assert top_level(whole) == {"version": "2.1.0", "runs": [], "n": 5, "o": {}, "last": True}
    assert top_level(whole[:30]) == {"version": "2.1.0", "runs": []}
    assert top_level(whole.decode().encode("utf-16"))["n"] == 5


@pytest.mark.parametrize("head", [b"", b"[1]", b"null", b"<html>", b"\xff\xfe{", b"[" * 5000])
def test_what_is_no_object_has_no_top_level(head):
    assert top_level(head) == {}
