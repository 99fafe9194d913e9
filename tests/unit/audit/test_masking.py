"""What the masking policy finds, and what it leaves alone."""

import random
import re
import string

import pytest

from functions.audit.domain import masking
from functions.audit.domain.masking import KINDS, Masked, Masking

ALL = Masking(KINDS)


def mask(value, policy=ALL, path="metadata.note"):
    found: list[Masked] = []
    return policy.mask(value, path, found), found


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("jane@example.com", "[email]"),
        ("Write to Jane.Doe+tag@mail.example.co.uk.", "Write to [email]."),
        ("<jane@example.com>, joe@example.org", "<[email]>, [email]"),
        ("mailto:jane@example.com?subject=x", "mailto:[email]?subject=x"),
        ("?user=jane%40example.com&x=1", "?user=[email]&x=1"),
        ("jörg@bücher.example", "[email]"),
        ("o'neil@example.com", "[email]"),
        ("jane@example.com_old", "[email]_old"),
        ("jane@example.com+joe@example.com-", "[email]-"),
        ("4111111111111111", "[credit_card]"),
        ("card 4111 1111 1111 1111!", "card [credit_card]!"),
        ("4111-1111-1111-1111", "[credit_card]"),
        ("card:4111111111111111", "card:[credit_card]"),
        ("card-4111111111111111.", "card-[credit_card]."),
        ("378282246310005", "[credit_card]"),
        ("3782 822463 10005", "[credit_card]"),
        ("30569309025904", "[credit_card]"),
        ("3056 930902 5904", "[credit_card]"),
        ("5555555555554444", "[credit_card]"),
        ("2223003122003222", "[credit_card]"),
        ("6011111111111117", "[credit_card]"),
        ("3530111333300000", "[credit_card]"),
        ("6200000000000005", "[credit_card]"),
        ("6759649826438453", "[credit_card]"),
        ("4222222222222", "[credit_card]"),
        ("078-05-1120", "[ssn]"),
        ("SSN: 219 09 9999.", "SSN: [ssn]."),
        ("+14155552671", "[phone]"),
        ("+1 (415) 555-2671", "[phone]"),
        ("tel:+49 30 1234567", "tel:[phone]"),
        ("+49 (0) 30 123 4567", "[phone]"),
        ("+442071838750", "[phone]"),
        ("0049 30 1234567", "[phone]"),
        ("(415) 555-2671", "[phone]"),
        ("Call 415-555-2671, please", "Call [phone], please"),
        ("1-800-555-0199", "[phone]"),
        ("415.555.2671", "[phone]"),
        ("415 555 2671", "[phone]"),
        ("020 7183 8750", "[phone]"),
        ("07700 900123", "[phone]"),
        ("01 23 45 67 89", "[phone]"),
        ("(030) 1234567", "[phone]"),
        ("030-12345678", "[phone]"),
        (
            "jane@example.com 415-555-2671 078-05-1120 4111111111111111",
            "[email] [phone] [ssn] [credit_card]",
        ),
    ],
)
def test_masks(text, masked):
    assert mask(text)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing at all",
        "user@host",
        "react@18.2.0",
        "react@18.2.0-beta.1",
        "@mention and a@ b",
        "a@b@c",
        "4111111111111112",
        "9111111111111111",
        "1234567890123456",
        "x4111111111111111",
        "4111111111111111x",
        "411111111111111",
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123-45-67890",
        "a078-05-1120",
        "2026-01-05",
        "2026-01-05T09:30:00.123456Z",
        "2026-01-05T09:30:00+01:00",
        "2026-01-05 09:30:00",
        "05-01-2026",
        "05.01.2026",
        "05-01-2026 09:30",
        "01-05-2026 12 items",
        "20260105093000123",
        "1764034525",
        "1764034525123",
        "1764034525123456",
        "1764034525123456789",
        "192.168.100.200",
        "10.0.0.1:8080",
        "2001:db8::8a2e:370:7334",
        "1.2.3",
        "10.15.7-2024.01.01",
        "v120.0.6099.129",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36",
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "01KASM0T3ZJ8W6Q1XN5V7D2B4C",
        "0af7651916cd43dd8448eb211c80319c",
        "arn:aws:iam::123456789012:role/x",
        "order 1234567890",
        "INV-2026-000123",
        "id-415-555-2671",
        "/users/415-555-2671/x",
        "978-3-16-148410-0",
        "0-306-40615-2",
        "52.520008, 13.404954",
        "$1,234,567.89",
        "+1000",
        "12:34:56",
        "00012345678",
    ],
)
def test_leaves_alone(text):
    assert mask(text) == (text, [])


def test_tells_where_and_what_in_what_is_nested():
    value = {
        "a": ["x", {"b": "jane@example.com and 415-555-2671"}],
        "jane@example.com": 1,
        "n": 4111111111111111,
    }
    masked, found = mask(value, path="metadata")
    assert masked == {
        "a": ["x", {"b": "[email] and [phone]"}],
        "[email]": 1,
        "n": "[credit_card]",
    }
    assert set(found) == {
        Masked("metadata.a.1.b", ("email", "phone")),
        Masked("metadata.[email]", ("email",)),
        Masked("metadata.n", ("credit_card",)),
    }


def test_names_that_become_one_are_told_apart_the_same_way_every_time():
    value = {"b@example.com": 2, "a@example.com": 1, "[email]": 0}
    turned = dict(reversed(value.items()))
    assert mask(value)[0] == {"[email]": 0, "[email] 2": 1, "[email] 3": 2}
    assert mask(turned)[0] == mask(value)[0]


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (4111111111111111, "[credit_card]"),
        (4111111111111112, 4111111111111112),
        (1764034525123, 1764034525123),
        (4155552671, 4155552671),
        (78051120, 78051120),
        (-4111111111111111, -4111111111111111),
        (True, True),
        (12.5, 12.5),
        (None, None),
    ],
)
def test_numbers(value, masked):
    assert mask({"n": value})[0] == {"n": masked}


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("phone", "4155552671", "[phone]"),
        ("mobile_number", 4155552671, "[phone]"),
        ("fax", "030 1234567", "[phone]"),
        ("phone", "unknown", "unknown"),
        ("ssn", "219099999", "[ssn]"),
        ("user_ssn", 219099999, "[ssn]"),
        ("ssn", "000123456", "000123456"),
        ("telemetry", "4155552671", "4155552671"),
        ("assnr", "219099999", "219099999"),
    ],
)
def test_a_name_that_says_so_needs_no_separators(name, value, masked):
    assert mask({name: value}, Masking(KINDS - {"credit_card"}))[0] == {name: masked}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_policy_masks_its_kinds_and_no_others(kind):
    text = "jane@example.com 415-555-2671 078-05-1120 4111111111111111"
    [entry] = mask(text, Masking({kind}))[1]
    assert entry.kinds == (kind,)
    assert mask(text, Masking(()))[0] == text


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="iban"):
        Masking({"email", "iban"})


def test_what_needs_no_masking_is_not_copied():
    text = "415-555-267"
    assert mask(text)[0] is text


PIECES = [
    *("jane@example.com", "415-555-2671", "+14155552671", "078-05-1120", "4111111111111111"),
    *("4111 1111", "0", "12", "555", "-", " ", ".", ":", "/", "@", "%40", "[", "]", "(", ")", "+"),
    *("a", "é", "_", "x.com", "2026-01-05", "\n"),
]


def test_masking_twice_is_masking_once():
    chance = random.Random(20261122)
    for _ in range(20_000):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 9)))
        once = mask(text)[0]
        assert mask(once) == (once, []), text


def test_what_is_not_suspected_is_not_masked():
    chance = random.Random(7)
    unfiltered = re.compile("")
    alphabet = string.digits * 3 + "+-. ()@ax%40"
    for _ in range(20_000):
        text = "".join(chance.choices(alphabet, k=chance.randint(5, 24)))
        if not ALL.suspects(text):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(masking, "_SUSPECT", unfiltered)
                assert mask({"phone": text})[0] == {"phone": text}


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1 ",
        "1-",
        "0",
        "+1",
        "a.",
        "a@",
        "@",
        "a@a.",
        "(0",
        "4111 ",
        "123-45-",
        "%40",
        "]1",
        "1.1",
        "01 23 ",
        "415-555-2671-",
        "a@b.c1.",
        "4111111111111111 ",
        "\u0660",
    ],
)
def test_sixty_kilobytes_of_anything_end(unit):
    """Read once, they take milliseconds; an expression that goes back and forth takes hours."""
    text = (unit * 60_000)[:60_000]
    once = mask({"phone": text})[0]
    assert isinstance(once["phone"], str)


def test_a_card_with_a_fraction_of_nothing_is_a_card():
    found = []
    masked = Masking(KINDS).mask({"n": 4111111111111111.0, "x": 2.0, "y": 2.5}, "metadata", found)
    assert masked == {"n": "[credit_card]", "x": 2, "y": 2.5}
    assert [masked.path for masked in found] == ["metadata.n"]
