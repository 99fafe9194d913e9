#!/usr/bin/env python3
"""Checks what the audit log proves, offline: this file and Python 3.9 or later are all it takes.

    python3 audit_verify.py BUNDLE                an export: which of its records are in the log
    python3 audit_verify.py proof FILE            one record with its proof of inclusion
    python3 audit_verify.py consistency FILE      that a log begins with an older state of itself

    --key VKEY            the log's key, from a source you trust (<name>+<key id>+<base64>). Without
                          it the key is taken from the input: then integrity is shown, not origin.
    --against FILE        with a bundle: a checkpoint you kept; the bundle's log must agree with it.
    --consistency FILE    with --against: the proof between the two, as the service hands it out.

One line is printed for each problem and for each record that is not proven (the first 1,000 of
these, and the number of the others), then a summary. Exit status: 0 everything is proven, 3 nothing
is wrong but some is not proven (not sealed yet), 1 something is refused, 2 the input is unusable
(a bundle that is damaged so that it is no ZIP any more, too).

What is proven: a record's bytes are a leaf of the Merkle tree (RFC 6962) whose root the log's key
has signed (Ed25519, RFC 8032; C2SP signed note and tlog-checkpoint). The same key has signed the
bundle as a whole, so that any byte changed in it since is refused, and so is a bundle whose records
are not what its manifest says (filter, span, order). What stays the service's word, which it has
signed but cannot prove: that the bundle holds every record of its range and filter, that a record
without a proof was not sealed, when it was made (created_at), and that schema.json is the schema of
its records.

A bundle is a ZIP (stored or deflated) of these files, all JSON in UTF-8 without repeated keys. The
ZIP's comment, with which the file ends, is a signed note of three lines: the log's name, "export",
and the SHA-256 (64 hex digits) of the file up to the two bytes that tell the comment's length.

    manifest.json    {"format": 1, "log": str, "vkey": str, "tree_size": int, "created_at": str,
                     "span": {"start": str, "end": str}, "filter": {...}, "records": int,
                     "proven": int}; times are RFC 3339 in UTC with microseconds and Z, and so are
                     records' timestamps: from start on, before end. filter has any of event_type,
                     user_id, resource, action, request_id, session_id and severity, which each
                     record has too, and resource_prefix, with which its resource begins
    records.jsonl    a line each, ended by a line feed: {"record": str, "leaf_index": int or null,
                     "path": [64 hex digits, ...] or null}: the record's canonical JSON, and its
                     audit path (leaf first) in the tree of tree_size; null when not sealed yet.
                     By leaf_index ascending, those without one last
    checkpoint       the signed note of tree_size; absent if tree_size is 0
    schema.json      the JSON Schema of records, an object

The FILE of `proof`: {"event_id": str, "record": str, "leaf_index": int, "tree_size": int,
"path": [hex, ...], "checkpoint": str, "leaf_hash": optional}; event_id and leaf_hash are those of
the record. That of `consistency`: {"first": int, "second": int, "path": [hex, ...],
"first_checkpoint": str (empty if first is 0), "second_checkpoint": str}. "vkey" is optional in
both; other members are ignored.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

FORMAT = 1
MANIFEST, RECORDS = "manifest.json", "records.jsonl"
CHECKPOINT, SCHEMA = "checkpoint", "schema.json"

PROVEN, REFUSED, UNUSABLE, NOT_PROVEN = 0, 1, 2, 3

# Bounds on what is read: an archive may unpack to a thousand times its size.
MAX_RECORDS_BYTES = 64 * 1024**3
MAX_FILE_BYTES = 16 * 1024**2
# A record has 60,000 bytes at most; escaping may multiply them by six.
MAX_RECORD_BYTES = 60_000
MAX_LINE_BYTES = 512 * 1024
MAX_PATH = 64
MAX_SIGNATURES = 64
# As many records that are not proven are named; more of them are counted.
MAX_NAMED = 1_000
_SHOWN = 80

_ReadT = TypeVar("_ReadT")

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class RefusedError(Exception):
    """What was given does not prove what it says; the message tells why."""


class UnusableError(Exception):
    """What was given cannot be read as what it should be."""


# Ed25519, RFC 8032 section 5.1: verification only.

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

# Extended homogeneous coordinates: x = X/Z, y = Y/Z, x y = T/Z.
_Point = tuple[int, int, int, int]
_IDENTITY: _Point = (0, 1, 1, 0)


def _add(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(point: _Point) -> _Point:
    x, y, z, _ = point
    a, b = x * x % _P, y * y % _P
    h = a + b
    e = h - (x + y) * (x + y) % _P
    g = a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _decode_point(encoded: bytes) -> _Point | None:
    """The point, None if there is none or this is not its one canonical encoding."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if x * x % _P != square or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode_point(point: _Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(HASH_BYTES, "little")


def _of_small_order(point: _Point) -> bool:
    for _ in range(3):
        point = _double(point)
    return point[0] == 0 and point[1] == point[2]


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE = _decode_point(_BASE_Y.to_bytes(HASH_BYTES, "little")) or _IDENTITY


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature (64 bytes) is this key's (32 bytes) over the message.

    Strict where RFC 8032 leaves room: one encoding of points and scalars, no key of small order,
    the group equation without the cofactor.
    """
    if len(public_key) != HASH_BYTES or len(signature) != 2 * HASH_BYTES:
        return False
    encoded_r = signature[:HASH_BYTES]
    s = int.from_bytes(signature[HASH_BYTES:], "little")
    key = _decode_point(public_key)
    if s >= _L or key is None or _of_small_order(key):
        return False
    digest = hashlib.sha512(encoded_r + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    negated = (_P - key[0], key[1], 1, _P - key[3])
    # Both multiplications share their doublings: at each bit neither, one or both points join.
    joining = (_IDENTITY, _BASE, negated, _add(_BASE, negated))
    point = _IDENTITY
    for bit in reversed(range(_L.bit_length())):
        point = _double(point)
        choice = s >> bit & 1 | (k >> bit & 1) << 1
        if choice:
            point = _add(point, joining[choice])
    return _encode_point(point) == encoded_r


# Merkle trees, RFC 6962 section 2.1; checks as RFC 9162, sections 2.1.3.2 and 2.1.4.2.


def leaf_hash(record: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of a tree of `size` that has `leaf` at `index`, by an audit path.

    Raises `RefusedError` when the path does not fit.
    """
    if not 0 <= index < size:
        raise RefusedError(f"a tree of {size} leaves has no leaf {index}")
    root, left, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            raise RefusedError("the audit path is too long")
        if left & 1 or left == last:
            root = node_hash(sibling, root)
            while left and not left & 1:
                left, last = left >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        left, last = left >> 1, last >> 1
    if last:
        raise RefusedError("the audit path is too short")
    return root


def check_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> None:
    """Raises `RefusedError` unless the tree of `second` begins with that of `first`.

    Equal sizes and a `first` of 0 take an empty path.
    """
    if not 0 <= first <= second:
        raise RefusedError(f"a tree of {second} leaves has no beginning of {first}")
    if first in (0, second):
        expected = second_root if first == second else EMPTY_ROOT
        if path or first_root != expected:
            raise RefusedError("the two states contradict each other")
        return
    roots = _roots_of_consistency(first, second, first_root, path)
    if roots != (first_root, second_root):
        raise RefusedError("the two states contradict each other")


def _roots_of_consistency(
    first: int, second: int, first_root: bytes, path: Sequence[bytes]
) -> tuple[bytes, bytes]:
    whole = [first_root] if first & (first - 1) == 0 else []
    hashes = [*whole, *path]
    if not path:
        raise RefusedError("the consistency proof is too short")
    left, last = first - 1, second - 1
    while left & 1:
        left, last = left >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise RefusedError("the consistency proof is too long")
        if left & 1 or left == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while left and not left & 1:
                left, last = left >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        left, last = left >> 1, last >> 1
    if last:
        raise RefusedError("the consistency proof is too short")
    return old, new


# Signed notes and checkpoints: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint.

_ED25519 = b"\1"
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_SIGNATURE_LINE = "\u2014 "


@dataclass(frozen=True)
class Key:
    """A log's key: `vkey` is its text, `key_id` four bytes, `public` 32."""

    vkey: str
    name: str
    key_id: bytes
    public: bytes


@dataclass(frozen=True)
class TreeHead:
    """What a checkpoint states."""

    origin: str
    size: int
    root: bytes


def is_key_name(name: str) -> bool:
    """Whether a signed note may name a key, and a checkpoint its log, like that."""
    return bool(name) and not any(
        char == "+" or char.isspace() or unicodedata.category(char) in {"Cc", "Cs"} for char in name
    )


def key_id_of(name: str, public_key: bytes) -> bytes:
    """The four bytes by which signatures name an Ed25519 key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def vkey_of(name: str, public_key: bytes) -> str:
    """The text form of an Ed25519 key. Raises `ValueError`."""
    if not is_key_name(name) or len(public_key) != HASH_BYTES:
        raise ValueError(f"{name!r} is no key name, or the key is no Ed25519 key")
    encoded = base64.b64encode(_ED25519 + public_key).decode()
    return f"{name}+{key_id_of(name, public_key).hex()}+{encoded}"


def parse_vkey(text: str) -> Key:
    """The inverse of `vkey_of`. Raises `RefusedError`."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    if not is_key_name(name) or not _KEY_ID.fullmatch(key_id):
        raise RefusedError("the key is not <name>+<key id>+<base64>")
    data = _from_base64(encoded)
    if data[:1] != _ED25519 or len(data) != 1 + HASH_BYTES:
        raise RefusedError("the key is no Ed25519 key")
    key = Key(text, name, bytes.fromhex(key_id), data[1:])
    if key.key_id != key_id_of(name, key.public):
        raise RefusedError("the key's id is not that of its name and value")
    return key


def open_checkpoint(text: str, key: Key) -> TreeHead:
    """What the checkpoint states, once the key's signature over it holds. Raises `RefusedError`."""
    what = "the checkpoint"
    lines = open_note(text, key, what).split("\n")[:-1]
    if len(lines) < 3 or not all(lines) or not _NUMBER.fullmatch(lines[1]):  # noqa: PLR2004
        raise RefusedError(f"{what} is not origin, size and root")
    root = _from_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise RefusedError(f"{what}'s root is no SHA-256 hash")
    if lines[0] != key.name:
        raise RefusedError(f"{what} is of another log than the key")
    return TreeHead(lines[0], int(lines[1]), root)


def open_note(text: str, key: Key, what: str) -> str:
    """The text of a signed note, once the key's signature over it holds. Raises `RefusedError`."""
    body, signatures = _split_note(text, what)
    mine = [value for name, key_id, value in signatures if (name, key_id) == (key.name, key.key_id)]
    if not mine:
        raise RefusedError(f"{what} is not signed by {_shown(key.name)}")
    if not all(verify_signature(key.public, body.encode(), signature) for signature in mine):
        raise RefusedError(f"{what}'s signature is not the key's")
    return body


def _split_note(text: str, what: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    if len(text) > MAX_FILE_BYTES or any(char < " " and char != "\n" for char in text):
        raise RefusedError(f"{what} is no signed note")
    body, separator, signed = text.rpartition("\n\n")
    lines = signed.split("\n")
    if not separator or lines.pop() != "" or not 0 < len(lines) <= MAX_SIGNATURES:
        raise RefusedError(f"{what} is no signed note")
    return body + "\n", [_signature(line, what) for line in lines]


def _signature(line: str, what: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line[len(_SIGNATURE_LINE) :].partition(" ")
    value = _from_base64(encoded)
    if not line.startswith(_SIGNATURE_LINE) or not is_key_name(name) or len(value) <= 4:  # noqa: PLR2004
        raise RefusedError(f"{what} has a malformed signature line")
    return name, value[:4], value[4:]


def _from_base64(text: str) -> bytes:
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        value = b""
    # One text for one value: unused bits must be 0.
    if not value or base64.b64encode(value).decode() != text:
        raise RefusedError(f"{_shown(text)} is not base64")
    return value


# JSON, read strictly.

_HASH = re.compile(r"[0-9a-f]{64}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)

_PREFIX = "resource_prefix"
_FILTERS: dict[str, type[Any]] = {
    "event_type": str,
    "user_id": int,
    "resource": str,
    _PREFIX: str,
    "action": str,
    "request_id": str,
    "session_id": str,
    "severity": str,
}


@dataclass(frozen=True)
class Line:
    """A line of records.jsonl."""

    record: bytes
    leaf_index: int | None
    path: list[bytes]


@dataclass(frozen=True)
class Manifest:
    """manifest.json, as far as it is checked."""

    log: str
    vkey: str
    tree_size: int
    start: str
    end: str
    filter: dict[str, Any]
    records: int
    proven: int


def _json(content: bytes, what: str) -> Any:
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _JsonError) else "not valid JSON"
        raise RefusedError(f"{what}: {reason}") from None


class _JsonError(ValueError):
    pass


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _JsonError("a key is repeated")
    return members


def _no_number(name: str) -> Any:
    raise _JsonError(f"{name} is no number")


def _member(members: Any, name: str, kind: type[Any], what: str) -> Any:
    """A member of exactly this type. Raises `RefusedError`."""
    if type(members) is not dict or name not in members:
        raise RefusedError(f"{what}: {name} is missing")
    value = members[name]
    # bool is an int to isinstance.
    if type(value) is not kind:
        raise RefusedError(f"{what}: {name} is of the wrong type")
    return value


def _number(members: Any, name: str, what: str) -> int:
    value: int = _member(members, name, int, what)
    if not 0 <= value < 2**63:
        raise RefusedError(f"{what}: {name} is out of range")
    return value


def _text(members: Any, name: str, what: str) -> str:
    value: str = _member(members, name, str, what)
    return value


def _moment(members: Any, name: str, what: str) -> str:
    value = _text(members, name, what)
    if not _MOMENT.fullmatch(value):
        raise RefusedError(f"{what}: {name} is no time")
    return value


def _path(members: Any, what: str) -> list[bytes]:
    path = _member(members, "path", list, what)
    if len(path) > MAX_PATH:
        raise RefusedError(f"{what}: the path is too long")
    if not all(type(entry) is str and _HASH.fullmatch(entry) for entry in path):
        raise RefusedError(f"{what}: the path is not of hashes")
    return [bytes.fromhex(entry) for entry in path]


def _record(members: Any, what: str) -> bytes:
    try:
        record = _text(members, "record", what).encode("utf-8")
    except UnicodeEncodeError:
        raise RefusedError(f"{what}: the record is not Unicode") from None
    if len(record) > MAX_RECORD_BYTES:
        raise RefusedError(f"{what}: the record is too large")
    return record


def _parse_manifest(content: bytes) -> Manifest:
    members = _json(content, MANIFEST)
    if _number(members, "format", MANIFEST) != FORMAT:
        raise RefusedError(f"{MANIFEST}: this verifier knows format {FORMAT} alone")
    _moment(members, "created_at", MANIFEST)
    span = _member(members, "span", dict, MANIFEST)
    return Manifest(
        log=_text(members, "log", MANIFEST),
        vkey=_text(members, "vkey", MANIFEST),
        tree_size=_number(members, "tree_size", MANIFEST),
        start=_moment(span, "start", MANIFEST),
        end=_moment(span, "end", MANIFEST),
        filter=_filter(members),
        records=_number(members, "records", MANIFEST),
        proven=_number(members, "proven", MANIFEST),
    )


def _filter(members: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = _member(members, "filter", dict, MANIFEST)
    for name in wanted:
        if name not in _FILTERS:
            raise RefusedError(f"{MANIFEST}: this verifier knows no filter {_shown(name)}")
        _member(wanted, name, _FILTERS[name], MANIFEST)
    return wanted


def _check_filter(wanted: dict[str, Any], members: Any, what: str) -> None:
    for name, value in wanted.items():
        if name == _PREFIX:
            resource = members.get("resource")
            fits = type(resource) is str and resource.startswith(value)
        else:
            have = members.get(name)
            fits = type(have) is type(value) and have == value
        if not fits:
            raise RefusedError(f"{what}: not what the bundle's filter asks for ({name})")


def _parse_line(content: bytes, what: str) -> Line:
    members = _json(content, what)
    record = _record(members, what)
    if set(members) != {"record", "leaf_index", "path"}:
        raise RefusedError(f"{what}: not record, leaf_index and path")
    if members["leaf_index"] is None and members["path"] is None:
        return Line(record, None, [])
    return Line(record, _number(members, "leaf_index", what), _path(members, what))


# Bundles.


@dataclass
class Report:
    """What came of a check; each problem is told at once."""

    tell: Callable[[str], None]
    proven: int = 0
    not_proven: int = 0
    refused: int = 0
    notes: list[str] = field(default_factory=list)

    def refuse(self, problem: str) -> None:
        """One more problem."""
        self.refused += 1
        self.tell(f"REFUSED {problem}")

    @property
    def status(self) -> int:
        """The exit status."""
        if self.refused:
            return REFUSED
        return NOT_PROVEN if self.not_proven else PROVEN


class Bundle:
    """The files of an export. Raises `UnusableError` if this is no ZIP, else `RefusedError`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        entries = archive.infolist()
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise RefusedError("the bundle has two files of one name")
        for entry in entries:
            _check_entry(entry)
        for name in (MANIFEST, RECORDS, SCHEMA):
            if name not in self._entries:
                raise RefusedError(f"{name} is missing")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def check_signature(self, key: Key) -> None:
        """Raises `RefusedError` unless the key has signed every byte of the file."""
        what, comment, file = "the bundle", self._archive.comment, self._archive.fp
        if not comment or file is None:
            raise RefusedError(f"{what} is not signed")
        try:
            signed = open_note(comment.decode("utf-8"), key, what)
        except UnicodeDecodeError:
            raise RefusedError(f"{what} is not signed") from None
        length = len(comment).to_bytes(LENGTH_BYTES, "little")
        end = max(file.seek(0, 2) - len(length + comment), 0)
        digest = digest_of(file, end)
        # A reader of ZIPs takes what is there, however long the comment is said to be.
        if signed != export_text(key.name, digest) or file.read() != length + comment:
            raise RefusedError(f"{what} was changed after it was signed")

    def read(self, name: str) -> bytes:
        """A file whole; bounded by its declared size, which reading does not go beyond."""
        if name not in self._entries:
            raise RefusedError(f"{name} is missing")
        with self._reading(name) as file:
            return _guarded(name, file.read)

    def text(self, name: str) -> str:
        """A text file."""
        try:
            return self.read(name).decode("utf-8")
        except UnicodeDecodeError:
            raise RefusedError(f"{name} is not UTF-8") from None

    def lines(self) -> Iterator[bytes]:
        """The lines of records.jsonl."""
        with self._reading(RECORDS) as file:
            while True:
                line = _guarded(RECORDS, lambda: file.readline(MAX_LINE_BYTES + 1))
                if not line:
                    return
                if not line.endswith(b"\n"):
                    raise RefusedError(f"{RECORDS}: a line is too long or cut off")
                yield line

    def _reading(self, name: str) -> IO[bytes]:
        return _guarded(name, lambda: self._archive.open(self._entries[name]))


def _guarded(name: str, read: Callable[[], _ReadT]) -> _ReadT:
    try:
        return read()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError):
        raise RefusedError(f"{name} is damaged") from None


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if name not in {MANIFEST, RECORDS, CHECKPOINT, SCHEMA}:
        raise RefusedError(f"{_shown(name)} does not belong into a bundle")
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError(f"{name} is encrypted or packed in a way that this verifier cannot read")
    if entry.file_size > (MAX_RECORDS_BYTES if name == RECORDS else MAX_FILE_BYTES):
        raise RefusedError(f"{name} is too large")


# With these, which tell its comment's length, and the comment a ZIP ends (APPNOTE 4.3.16).
LENGTH_BYTES = 2
_READ_BYTES = 1024**2

_PENDING = "not sealed yet when the bundle was made"


def digest_of(file: IO[bytes], end: int) -> bytes:
    """The SHA-256 of a file's first `end` bytes, behind which it is left."""
    digest = hashlib.sha256()
    file.seek(0)
    left = end
    while left and (part := file.read(min(left, _READ_BYTES))):
        digest.update(part)
        left -= len(part)
    return digest.digest()


def export_text(log_name: str, digest: bytes) -> str:
    """What is signed of a bundle; no checkpoint, whose second line is a number."""
    return f"{log_name}\nexport\n{digest.hex()}\n"


class _BundleCheck:
    """One pass over a bundle."""

    def __init__(self, bundle: Bundle, given: Key | None, report: Report) -> None:
        self._bundle = bundle
        self._report = report
        self.manifest = _parse_manifest(bundle.read(MANIFEST))
        self.key = given or parse_vkey(self.manifest.vkey)
        self.head = self._tree_head()
        self._ids: set[str] = set()
        self._indexes: set[int] = set()
        self._pending = 0
        self._last = -1

    def run(self, against: str | None, consistency: bytes | None) -> None:
        """Everything."""
        manifest, report = self.manifest, self._report
        if manifest.vkey != self.key.vkey:
            report.refuse("the bundle names another key than --key")
        if manifest.log != self.key.name:
            report.refuse("the bundle names another log than the key")
        self._signature()
        self._schema()
        if against is not None:
            self._kept(against, consistency)
        self._records()

    def _signature(self) -> None:
        try:
            self._bundle.check_signature(self.key)
        except RefusedError as refusal:
            self._report.refuse(str(refusal))

    def _schema(self) -> None:
        try:
            schema = _json(self._bundle.read(SCHEMA), SCHEMA)
        except RefusedError as refusal:
            self._report.refuse(str(refusal))
            return
        if type(schema) is not dict:
            self._report.refuse(f"{SCHEMA} is no JSON object")

    def _tree_head(self) -> TreeHead:
        if self.manifest.tree_size == 0:
            if CHECKPOINT in self._bundle:
                raise RefusedError("an empty log has no checkpoint")
            return TreeHead(self.key.name, 0, EMPTY_ROOT)
        head = open_checkpoint(self._bundle.text(CHECKPOINT), self.key)
        if head.size != self.manifest.tree_size:
            raise RefusedError("the checkpoint is of another size than tree_size")
        return head

    def _records(self) -> None:
        report, manifest = self._report, self.manifest
        number = proven = 0
        for number, content in enumerate(self._bundle.lines(), 1):
            if number > manifest.records:
                break
            try:
                proven += self._one_record(content, f"record {number}")
            except RefusedError as refusal:
                report.refuse(str(refusal))
        if number != manifest.records:
            report.refuse(f"{MANIFEST} tells of {manifest.records} records, there are others")
        elif proven != manifest.proven and not report.refused:
            report.refuse(f"{MANIFEST} tells of {manifest.proven} proven records, not of {proven}")
        report.proven += proven
        if self._pending > MAX_NAMED:
            report.tell(f"NOT PROVEN {self._pending - MAX_NAMED} more: {_PENDING}")
        if self._indexes:
            between = max(self._indexes) - min(self._indexes) + 1 - len(self._indexes)
            report.notes.append(
                f"leaves {min(self._indexes)} to {max(self._indexes)} of {self.head.size}; "
                f"{between} between them are not in this bundle"
            )

    def _one_record(self, content: bytes, what: str) -> int:
        line = _parse_line(content, what)
        members = _json(line.record, what)
        event_id = _text(members, "event_id", what)
        what = f"{what} ({_shown(event_id)})"
        if event_id in self._ids:
            raise RefusedError(f"{what}: its id is there twice")
        self._ids.add(event_id)
        if not self.manifest.start <= _moment(members, "timestamp", what) < self.manifest.end:
            raise RefusedError(f"{what}: outside of the range that the bundle tells")
        _check_filter(self.manifest.filter, members, what)
        if line.leaf_index is None:
            self._report.not_proven += 1
            self._pending += 1
            if self._pending <= MAX_NAMED:
                self._report.tell(f"NOT PROVEN {_shown(event_id)}: {_PENDING}")
            return 0
        if line.leaf_index in self._indexes:
            raise RefusedError(f"{what}: its leaf is there twice")
        self._indexes.add(line.leaf_index)
        _check_inclusion(line.record, line.leaf_index, line.path, self.head, what)
        if self._pending:
            raise RefusedError(f"{what}: in the log, and after a record that is not")
        if line.leaf_index < self._last:
            raise RefusedError(f"{what}: not in the order of the log")
        self._last = line.leaf_index
        return 1

    def _kept(self, text: str, consistency: bytes | None) -> None:
        """The bundle's log against a checkpoint that the reader has kept."""
        try:
            kept = open_checkpoint(text, self.key)
            if kept.size == self.head.size:
                check_consistency(kept.size, kept.size, kept.root, self.head.root, [])
                return
            first, second = sorted((kept, self.head), key=lambda head: head.size)
            path = _path_between(first.size, second.size, consistency)
            if path is None:
                self._report.not_proven += 1
                self._report.tell(
                    f"NOT PROVEN the checkpoint of {kept.size} that you kept: no proof between "
                    f"{first.size} and {second.size} is at hand (--consistency)"
                )
                return
            check_consistency(first.size, second.size, first.root, second.root, path)
        except RefusedError as refusal:
            self._report.refuse(f"the checkpoint that you kept: {refusal}")


def _path_between(first: int, second: int, consistency: bytes | None) -> list[bytes] | None:
    if consistency is None:
        return None
    what = "the consistency proof"
    proof = _json(consistency, what)
    sizes = (_number(proof, "first", what), _number(proof, "second", what))
    return _path(proof, what) if sizes == (first, second) else None


def _check_inclusion(
    record: bytes, index: int, path: Sequence[bytes], head: TreeHead, what: str
) -> None:
    try:
        root = root_of_inclusion(leaf_hash(record), index, head.size, path)
    except RefusedError as refusal:
        raise RefusedError(f"{what}: {refusal}") from None
    if root != head.root:
        raise RefusedError(f"{what}: is not leaf {index} of the log, or was changed")


def _check_history(old: TreeHead, first: int, new: TreeHead, path: Sequence[bytes]) -> None:
    if old.size != first:
        raise RefusedError("the checkpoint is of another size than it should be")
    check_consistency(first, new.size, old.root, new.root, path)


def check_bundle(
    bundle: Bundle,
    key: Key | None,
    report: Report,
    against: str | None = None,
    consistency: bytes | None = None,
) -> None:
    """Tells `report` what is wrong with an export. Raises `RefusedError` where checking ends."""
    check = _BundleCheck(bundle, key, report)
    check.run(against, consistency)
    report.notes.insert(0, f"log {_shown(check.key.name)}, tree size {check.head.size}")


def check_proof(content: bytes, key: Key | None) -> TreeHead:
    """The tree in which a record is proven to be. Raises `RefusedError`."""
    what = "the proof"
    members = _json(content, what)
    head = open_checkpoint(_text(members, "checkpoint", what), key or _own_key(members))
    if head.size != _number(members, "tree_size", what):
        raise RefusedError("the checkpoint is of another size than tree_size")
    index, record = _number(members, "leaf_index", what), _record(members, what)
    _check_inclusion(record, index, _path(members, what), head, "the record")
    own_id = _text(_json(record, "the record"), "event_id", "the record")
    if _text(members, "event_id", what) != own_id:
        raise RefusedError(f"{what}: event_id is not the record's, {_shown(own_id)}")
    if "leaf_hash" in members and members["leaf_hash"] != leaf_hash(record).hex():
        raise RefusedError(f"{what}: leaf_hash is not the record's")
    return head


def check_consistency_proof(content: bytes, key: Key | None) -> tuple[int, TreeHead]:
    """The older size and the newer tree that is proven to begin with it. Raises `RefusedError`."""
    what = "the proof"
    members = _json(content, what)
    key = key or _own_key(members)
    first, second = _number(members, "first", what), _number(members, "second", what)
    new = open_checkpoint(_text(members, "second_checkpoint", what), key)
    if new.size != second:
        raise RefusedError("the checkpoint is of another size than it should be")
    text = _text(members, "first_checkpoint", what)
    old = TreeHead(key.name, 0, EMPTY_ROOT) if first == 0 else open_checkpoint(text, key)
    _check_history(old, first, new, _path(members, what))
    return first, new


def _own_key(members: Any) -> Key:
    if type(members) is not dict or "vkey" not in members:
        raise UnusableError("the input names no key: give --key")
    return parse_vkey(_text(members, "vkey", "the proof"))


# The command.

_UNPROVEN = """signed by the service, and proven by no bundle:
  that no record of its range and filter was left out when it was made
  that a record without a proof was not sealed yet
  when it was made (created_at in manifest.json)
  that schema.json, which must be a JSON object, is the schema of its records"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_UNPROVEN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", metavar="BUNDLE | proof FILE | consistency FILE")
    parser.add_argument("--key", metavar="VKEY", help="the log's key")
    parser.add_argument("--against", metavar="FILE", help="a checkpoint that you kept")
    parser.add_argument("--consistency", metavar="FILE", help="the proof between it and the bundle")
    options = parser.parse_args(arguments)
    report = Report(_tell)
    try:
        key = _given_key(options.key)
        _dispatch(options, key, report)
    except UnusableError as error:
        _tell(f"UNUSABLE {error}")
        return UNUSABLE
    except RefusedError as refusal:
        report.refuse(str(refusal))
    for note in report.notes:
        _tell(note)
    _tell(
        f"key {_shown(key.vkey)}, given by you"
        if key
        else "the key came from the input itself: this shows integrity, not origin (use --key)"
    )
    _tell(f"proven {report.proven}, not proven {report.not_proven}, refused {report.refused}")
    return report.status


def _dispatch(options: argparse.Namespace, key: Key | None, report: Report) -> None:
    *mode, name = options.what
    kept = _optional(options.against)
    if mode == ["proof"] and kept is None:
        head = check_proof(_input(name), key)
        report.notes.append(f"the record is in the log {_shown(head.origin)} of {head.size}")
        report.proven = 1
    elif mode == ["consistency"] and kept is None:
        first, head = check_consistency_proof(_input(name), key)
        report.notes.append(
            f"the log {_shown(head.origin)} of {head.size} begins with that of {first}"
        )
        report.proven = 1
    elif not mode:
        against = None if kept is None else _decoded(kept)
        consistency = _optional(options.consistency)
        with _archive(name) as archive:
            check_bundle(Bundle(archive), key, report, against, consistency)
    else:
        raise UnusableError("see --help: BUNDLE, or proof FILE, or consistency FILE")


def _given_key(text: str | None) -> Key | None:
    try:
        return None if text is None else parse_vkey(text.strip())
    except RefusedError as refusal:
        raise UnusableError(f"--key: {refusal}") from None


def _archive(name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(name)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        raise UnusableError(f"{_shown(name)} cannot be read, or is no ZIP") from None


def _optional(name: str | None) -> bytes | None:
    return None if name is None else _input(name)


def _input(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError):
        raise UnusableError(f"{_shown(name)} cannot be read") from None
    if len(content) > MAX_FILE_BYTES:
        raise UnusableError(f"{_shown(name)} is too large")
    return content


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UnusableError("the checkpoint that you kept is not UTF-8") from None


def _shown(text: str) -> str:
    """Foreign text as it may stand on a terminal."""
    safe = "".join(char if char.isprintable() else "?" for char in text[:_SHOWN])
    return safe if len(text) <= _SHOWN else f"{safe}..."


def _tell(line: str) -> None:
    sys.stdout.write(line.encode("ascii", "backslashreplace").decode() + "\n")


if __name__ == "__main__":
    sys.exit(main())
