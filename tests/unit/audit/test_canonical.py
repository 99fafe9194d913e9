"""What comes in is I-JSON, what goes out is RFC 8785."""

import json
import math
import random

import pytest
import rfc8785

from functions.audit.domain import canonical
from servicekit import strict_json
from servicekit.errors import InvalidRequestError, MalformedRequestError


def flaws(body, max_depth=8):
    return [flaw.below(0) for flaw in strict_json.parse(body, max_depth).flaws]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b'{"a":1,"a":2}', ["a"]),
        (b'{"x":{"a":1,"b":0,"a":2,"a":3}}', ["x.a"]),
        (b'{"a":1,"\\u0061":2}', ["a"]),
        (b'[{"n":NaN},Infinity,-Infinity]', ["0.n", "1", "2"]),
        (b'{"n":1e400,"m":-1e400}', ["n", "m"]),
        (b'{"n":9007199254740992}', ["n"]),
        (b'{"n":-9007199254740992}', ["n"]),
        (b'{"n":' + b"1" * 5000 + b"}", ["n"]),
        (b'{"s":"a\\ud800b"}', ["s"]),
        (b'{"s":["\\udc00\\ud800"]}', ["s.0"]),
        (b'{"a\\ud800":1}', ["a?"]),
        (b"9007199254740992", [""]),
        (b'{"a":[NaN],"a":[1e999]}', ["a", "a.0"]),
    ],
)
def test_flaws_are_named_by_their_path(body, fields):
    assert [flaw["field"] for flaw in flaws(body)] == fields


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"null",
        b'{"n":9007199254740991,"m":-9007199254740991,"f":1e308,"z":-0.0,"e":5e-324}',
        b'{"s":"\\ud83d\\ude00 \\\\ud800 \\u0000"}',
        '{"s":"\U0001f600\uffff"}'.encode(),
        b'{"a":{"a":{"a":1}}}',
    ],
)
def test_sound_documents(body):
    document = strict_json.parse(body, 8)
    assert document.flaws == ()
    assert strict_json.require_sound(document) == json.loads(body)


def nested(levels, opening=b"[", closing=b"]"):
    return opening * levels + closing * levels


def test_depth_is_bounded():
    assert flaws(nested(8)) == []
    [flaw] = flaws(nested(9))
    assert flaw == {"field": "0.0.0.0.0.0.0.0", "message": "Nested too deeply"}
    assert flaws(b'{"a":' + nested(8) + b"}")[0]["field"].startswith("a.0.0")
    assert flaws(b'{"a":' * 8 + b"1" + b"}" * 8) == []
    for levels in (500, 100_000):
        [flaw] = flaws(nested(levels))
        assert flaw["message"] == "Nested too deeply"


def test_flaws_are_bounded_and_so_are_their_paths():
    found = flaws(b'{"' + b"x" * 1000 + b'":[' + b"NaN," * 200 + b"1]}")
    assert len(found) == 50
    assert all(len(flaw["field"]) <= 200 for flaw in found)


def test_all_flaws_are_told_at_once():
    with pytest.raises(InvalidRequestError) as caught:
        strict_json.require_sound(strict_json.parse(b'{"a":NaN,"b":"\\ud800"}', 8))
    assert [error["field"] for error in caught.value.errors] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "line 1, character 1"),
        (b"{", "line 1, character 2"),
        (b'{"secret": 1} secret', "line 1, character 15"),
        ('{\n "ü": secret}'.encode(), "line 2, character 7"),
        (b"\xef\xbb\xbf{}", "line 1, character 1"),
        (b'{"a": "\xff secret"}', "Byte 7"),
        ('{"a": 1}'.encode("utf-16"), "Byte 0"),
        (b'{"a": "\n"}', "line 1, character 8"),
        (b'{"a": 01}', "line 1"),
        (b"{'a': 1}", "line 1"),
    ],
)
def test_what_is_no_json_is_told_by_its_place_alone(body, place):
    with pytest.raises(MalformedRequestError) as caught:
        strict_json.parse(body, 8)
    assert place in str(caught.value.detail)
    assert "secret" not in str(caught.value.detail)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # RFC 8785, appendix B and section 3.2.2.
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
        (295147905179352830000.0, "295147905179352830000"),
        (1e21, "1e+21"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (333333333.3333333, "333333333.3333333"),
        (1424953923781206.25, "1424953923781206.2"),
        (4.5, "4.5"),
        (2e-3, "0.002"),
        ('\u20ac$\u000f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ("\u2028\x7f", '"\u2028\x7f"'),
        # Section 3.2.3: by UTF-16 unit, the emoji goes before U+FB33.
        (
            {
                "\u20ac": 1,
                "\r": 2,
                "\ufb33": 3,
                "1": 4,
                "\U0001f600": 5,
                "\u0080": 6,
                "\u00f6": 7,
            },
            '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}',
        ),
        ([True, False, None, {}, []], "[true,false,null,{},[]]"),
    ],
)
def test_serialises_as_the_rfc_says(value, text):
    assert canonical.serialise(value) == text


def number(chance):
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randint(-strict_json.MAX_INTEGER, strict_json.MAX_INTEGER)
    if kind == 1:
        return chance.uniform(-1, 1) * 10.0 ** chance.randint(-30, 30)
    if kind == 2:
        return float(chance.randint(-(10**6), 10**6))
    if kind == 3:
        return round(chance.uniform(-1000, 1000), chance.randrange(4))
    return math.ldexp(chance.random(), chance.randint(-1074, 1000))


def text(chance):
    alphabet = 'az09 "\\/\b\f\n\r\t\x00\x1f\x7f\u0080é€\u2028\ud7ff\ue000\ufb33\uffff\U0001f600'
    return "".join(chance.choices(alphabet, k=chance.randrange(6)))


def value(chance, depth=0):
    kind = chance.randrange(8 if depth < 4 else 5)
    match kind:
        case 0:
            return chance.choice([None, True, False])
        case 1 | 2:
            return number(chance)
        case 3 | 4:
            return text(chance)
        case 5:
            return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
        case _:
            return {text(chance): value(chance, depth + 1) for _ in range(chance.randrange(5))}


def test_serialises_whatever_comes_as_the_library_does():
    chance = random.Random(8785)
    plain = 0
    for _ in range(3_000):
        wanted = value(chance)
        assert canonical.serialise(wanted) == rfc8785.dumps(wanted).decode()
        plain += canonical._is_plain(wanted)
        document = strict_json.parse(json.dumps(wanted).encode(), 8)
        assert canonical.serialise(document.content) == rfc8785.dumps(wanted).decode()
    # Both ways of writing were taken often enough to be compared.
    assert 500 < plain < 2_900


def test_what_is_joined_is_what_would_be_serialised():
    members = {"b": [1, "x"], "a": "ü\n", "c_d": {"z": None}, "ab": 1.0}
    joined = canonical.join({name: canonical.serialise(part) for name, part in members.items()})
    assert joined == rfc8785.dumps(members).decode()
    assert canonical.serialise_text("ü\n\x00") == canonical.serialise("ü\n\x00")


@pytest.mark.parametrize("text", ["9007199254740993.0", "-1e20", "9007199254740992e0"])
def test_a_number_that_is_stored_as_too_large_an_integer_is_one(text):
    document = strict_json.parse(f'{{"n": [{text}]}}'.encode(), 8)
    (flaw,) = document.flaws
    assert flaw.path == ("n", 0)


@pytest.mark.parametrize("text", ["9007199254740991.0", "1e21", "-2.5e30", "0.1"])
def test_other_large_numbers_are_none(text):
    assert strict_json.parse(f'{{"n": {text}}}'.encode(), 8).flaws == ()
