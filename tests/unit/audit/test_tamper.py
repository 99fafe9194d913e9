"""Every kind of tampering with every kind of object is noticed, by the service or the verifier."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.audit import audit_verify as verifier
from functions.audit.domain import checkpoint, notes
from functions.audit.domain.errors import EventNotFoundError, LogInconsistentError
from functions.audit.domain.merkle import leaf_hash
from functions.audit.domain.models import Filter
from servicekit.clock import to_text
from tests.fakes.audit_bundles import (
    edit_json,
    edit_lines,
    note_of,
    pack,
    pack_signed,
    unpack,
    write_bundle,
)
from tests.fakes.audit_log import MemoryLog, MemorySigner

pytestmark = pytest.mark.anyio

VICTIM, OTHER = "e000100", "e000200"
TILE, OTHER_TILE, EDGE = "tile/0/000", "tile/0/001", "tile/0/002.p/88"
NEWEST, OLDER = "checkpoint/600", "checkpoint/300"


# Made once: every test gets a copy.
BUILT: list[MemoryLog] = []
BUNDLED: list[tuple[bytes, str]] = []


@pytest.fixture
async def log():
    if not BUILT:
        BUILT.append(await sealed_twice())
    return BUILT[0].copy()


async def sealed_twice():
    log = MemoryLog()
    log.accept_many(300)
    await log.seal()
    log.accept_many(300, prefix="f")
    await log.seal()
    return log


def flipped(content, place=None):
    changed = bytearray(content)
    changed[len(content) // 2 if place is None else place] ^= 4
    return bytes(changed)


def backdated(record):
    members = json.loads(record)
    members["timestamp"] = "2025" + members["timestamp"][4:]
    return json.dumps(members, separators=(",", ":")).encode()


def exchange(mapping, one, other):
    mapping[one], mapping[other] = mapping[other], mapping[one]


def drop(mapping, name):
    del mapping[name]


def put(mapping, name, change):
    mapping[name] = change(mapping[name])


def key_of(log, event_id):
    return event_id, leaf_hash(log.records[event_id])


def moved(log, index):
    put(log.state.leaves, key_of(log, VICTIM), lambda leaf: replace(leaf, index=index))


def forged(log):
    """Record and place agree with each other, and not with the log."""
    leaf = log.state.leaves[key_of(log, VICTIM)]
    put(log.records, VICTIM, flipped)
    key = key_of(log, VICTIM)
    log.state.leaves[key] = replace(leaf, leaf_hash=key[1])


def hashes_exchanged(content):
    return content[32:64] + content[:32] + content[64:]


def lines_exchanged(content):
    first, second, rest = content.split(b"\n", 2)
    return b"\n".join((second, first, rest))


RECORD = {
    "flip": lambda log: put(log.records, VICTIM, flipped),
    "delete": lambda log: drop(log.records, VICTIM),
    "insert": lambda log: put(log.records, VICTIM, lambda record: record[:-1] + b',"x":1}'),
    "reorder": lambda log: exchange(log.records, VICTIM, OTHER),
    "truncate": lambda log: put(log.records, VICTIM, lambda record: record[:-1]),
    "backdate": lambda log: put(log.records, VICTIM, backdated),
    "swap": lambda log: put(log.records, VICTIM, lambda _: log.records["f000001"]),
}
PLACE = {
    "reorder": lambda log: exchange(log.state.leaves, key_of(log, VICTIM), key_of(log, OTHER)),
    "swap": lambda log: moved(log, 7),
    "insert": lambda log: moved(log, 600),
    "truncate": lambda log: moved(log, -1),
    "flip": forged,
}
TILES = {
    "flip": lambda log: put(log.objects, TILE, lambda tile: flipped(tile, 101 * 32)),
    "flip at the edge": lambda log: put(log.objects, EDGE, flipped),
    "delete": lambda log: drop(log.objects, TILE),
    "insert": lambda log: put(log.objects, TILE, lambda tile: bytes(32) + tile),
    "reorder": lambda log: put(log.objects, TILE, hashes_exchanged),
    "truncate": lambda log: put(log.objects, TILE, lambda tile: tile[:-32]),
    "backdate": lambda log: put(log.objects, TILE, lambda _: log.objects["tile/0/001.p/44"]),
    "swap": lambda log: exchange(log.objects, TILE, OTHER_TILE),
    "swap levels": lambda log: exchange(log.objects, "tile/1/000.p/2", "tile/1/000.p/1"),
}
CHECKPOINTS = {
    "flip": lambda log: put(log.objects, NEWEST, flipped),
    "delete": lambda log: drop(log.objects, NEWEST),
    "insert": lambda log: put(log.objects, NEWEST, lambda text: text.replace(b"\n\n", b"\nx\n\n")),
    "reorder": lambda log: put(log.objects, NEWEST, lines_exchanged),
    "truncate": lambda log: put(log.objects, NEWEST, lambda text: text[:-1]),
    "backdate": lambda log: put(log.objects, NEWEST, lambda _: log.objects[OLDER]),
    "swap": lambda log: exchange(log.objects, NEWEST, OLDER),
}


def kinds(table):
    return pytest.mark.parametrize("kind", table)


@kinds(RECORD)
async def test_a_record(log, kind):
    RECORD[kind](log)
    expected = EventNotFoundError if kind == "delete" else LogInconsistentError
    with pytest.raises(expected):
        await log.proofs().inclusion(VICTIM)


@kinds(PLACE)
async def test_a_place(log, kind):
    PLACE[kind](log)
    with pytest.raises(LogInconsistentError):
        await log.proofs().inclusion(VICTIM)
    assert log.metrics.values == [{"ProofsRefused": 1}]


@kinds(TILES)
async def test_a_tile(log, kind):
    TILES[kind](log)
    with pytest.raises(LogInconsistentError):
        await log.proofs().inclusion(VICTIM)
    assert log.metrics.values == [{"ProofsRefused": 1}]


@kinds(CHECKPOINTS)
async def test_a_checkpoint(log, kind):
    CHECKPOINTS[kind](log)
    proofs = log.proofs()
    for ask in (
        proofs.latest,
        lambda: proofs.inclusion(VICTIM),
        lambda: proofs.consistency(300, 600),
    ):
        with pytest.raises(LogInconsistentError):
            await ask()
    assert log.metrics.values == [{"ProofsRefused": 1}] * 3


async def test_a_history_that_was_rewritten(log):
    forged = MemoryLog()
    forged.accept_many(299)
    forged.accept("e000299", b'{"event_id":"e000299","timestamp":"2026-11-25T12:00:00.000000Z"}')
    await forged.seal()
    forged.accept_many(300, prefix="f")
    await forged.seal()
    assert (await forged.proofs().consistency(300, 600)).path
    forged.objects[OLDER] = log.objects[OLDER]
    with pytest.raises(LogInconsistentError):
        await forged.proofs().consistency(300, 600)


async def test_a_checkpoint_by_another_key(log):
    other = await checkpoint.sign(
        MemorySigner(seed=2), "audit.example/test", 600, log.state.head.root
    )
    log.objects[NEWEST] = other.encode()
    with pytest.raises(LogInconsistentError):
        await log.proofs().latest()


def lines(change):
    return lambda files: edit_lines(files, change)


def record_of(place, change):
    def changed(found):
        found[place]["record"] = change(found[place]["record"].encode()).decode()

    return lines(changed)


def fields_exchanged(*names):
    def changed(found):
        for name in names:
            found[100][name], found[200][name] = found[200][name], found[100][name]

    return lines(changed)


def manifest(**fields):
    return lambda files: edit_json(files, "manifest.json", lambda members: {**members, **fields})


def recounted(change):
    """A forger who also makes the counts fit."""

    def changed(files):
        edit_lines(files, change)
        count = files["records.jsonl"].count(b"\n")
        manifest(records=count, proven=count)(files)

    return changed


def an_invented_record(found):
    record = '{"event_id":"new","timestamp":"2026-11-25T12:00:00.000001Z"}'
    found.append({"record": record, "leaf_index": 7, "path": found[7]["path"]})


def unplaced_first(files):
    """A forger takes a record's proof away, and counts."""
    edit_lines(files, lambda found: found[0].update(leaf_index=None, path=None))
    manifest(proven=599)(files)


def older():
    return BUILT[0].objects[OLDER]


BUNDLE = {
    "records, flip": record_of(100, lambda record: record.replace(b"e000100", b"e00010x")),
    "records, flip in a path": lines(lambda found: found[100]["path"].__setitem__(3, "00" * 32)),
    "records, delete": lines(lambda found: found.pop(100)),
    "records, delete a path's hash": lines(lambda found: found[100]["path"].pop()),
    "records, insert": recounted(an_invented_record),
    "records, insert one twice": recounted(lambda found: found.append(found[100])),
    "records, insert white space": record_of(100, lambda record: record + b" "),
    "records, reorder": fields_exchanged("leaf_index"),
    "records, reorder with paths": fields_exchanged("leaf_index", "path"),
    "records, truncate": lambda files: put(files, "records.jsonl", lambda text: text[:-20]),
    "records, truncate whole lines": lines(lambda found: found.__delitem__(slice(300, None))),
    "records, backdate": record_of(100, lambda record: record.replace(b"T12:", b"T11:")),
    "records, backdate within the range": record_of(
        100, lambda record: record.replace(b"12:00:00.101", b"12:00:00.001")
    ),
    "records, swap": fields_exchanged("record"),
    "checkpoint, flip": lambda files: put(files, "checkpoint", flipped),
    "checkpoint, delete": lambda files: drop(files, "checkpoint"),
    "checkpoint, insert": lambda files: put(files, "checkpoint", lambda text: b"x\n" + text),
    "checkpoint, reorder": lambda files: put(files, "checkpoint", lines_exchanged),
    "checkpoint, truncate": lambda files: put(files, "checkpoint", lambda text: text[:-5]),
    "checkpoint, backdate": lambda files: put(files, "checkpoint", lambda _: older()),
    "checkpoint, backdate with size": lambda files: (
        put(files, "checkpoint", lambda _: older()),
        manifest(tree_size=300)(files),
    ),
    "manifest, another size": manifest(tree_size=599),
    "manifest, an empty log": manifest(tree_size=0),
    "manifest, another log": manifest(log="other.example/log"),
    "manifest, fewer records": manifest(records=599),
    "manifest, more records": manifest(records=601),
    "manifest, fewer proven": manifest(proven=599),
    "manifest, a narrower range": lambda files: edit_json(
        files,
        "manifest.json",
        lambda members: members["span"].update(start="2026-11-25T12:00:00.200000Z"),
    ),
    "manifest, an earlier end": lambda files: edit_json(
        files,
        "manifest.json",
        lambda members: members["span"].update(end="2026-11-25T12:00:00.600000Z"),
    ),
    "manifest, a filter": manifest(filter={"event_type": "user_action"}),
    "records, reorder lines": lines(lambda found: exchange(found, 100, 200)),
    "records, reverse lines": lines(lambda found: found.reverse()),
    "records, one without a place first": unplaced_first,
    "schema, no object": lambda files: put(files, "schema.json", lambda _: b"true"),
    "manifest, delete": lambda files: drop(files, "manifest.json"),
    "schema, delete": lambda files: drop(files, "schema.json"),
    "a file more": lambda files: files.update(more=b""),
}


@pytest.fixture
async def bundle(log, tmp_path):
    path = tmp_path / "bundle.zip"
    if not BUNDLED:
        vkey = await write_bundle(log, path)
        BUNDLED.append((path.read_bytes(), vkey))
    content, vkey = BUNDLED[0]
    path.write_bytes(content)
    return path, vkey


@pytest.mark.parametrize("kind", BUNDLE)
async def test_a_bundle(bundle, kind, tmp_path, capsys):
    path, vkey = bundle
    files = unpack(path)
    BUNDLE[kind](files)
    # By somebody in between, and by a service that signs what it should not.
    for changed in (
        pack(tmp_path / "changed.zip", files, note_of(path)),
        await pack_signed(tmp_path / "signed.zip", files),
    ):
        for options in (["--key", vkey], []):
            assert verifier.main([str(changed), *options]) == verifier.REFUSED
            assert "REFUSED" in capsys.readouterr().out


# What the tree cannot tell: the signature over the whole does.
UNPROVEN = {
    "a record left out, and the counts": recounted(lambda found: found.pop(100)),
    "a record left out at the end": recounted(lambda found: found.pop()),
    "another time": manifest(created_at="2027-01-01T00:00:00.000000Z"),
    "a wider range": manifest(
        span={"start": "2020-01-01T00:00:00.000000Z", "end": "2030-01-01T00:00:00.000000Z"}
    ),
    "another schema": lambda files: put(files, "schema.json", lambda _: b'{"type":"object"}'),
    "no change but the packing": lambda _: None,
}


@pytest.mark.parametrize("kind", UNPROVEN)
async def test_what_only_the_signature_tells(bundle, kind, tmp_path, capsys):
    path, vkey = bundle
    files = unpack(path)
    UNPROVEN[kind](files)
    for note, says in (
        (note_of(path), "REFUSED the bundle was changed after it was signed\n"),
        (b"", "REFUSED the bundle is not signed\n"),
        (files["checkpoint"], "REFUSED the bundle was changed after it was signed\n"),
        (b"\xff", "REFUSED the bundle is not signed\n"),
        (b"x", "REFUSED the bundle is no signed note\n"),
    ):
        changed = str(pack(tmp_path / "changed.zip", files, note))
        for options in (["--key", vkey], []):
            assert verifier.main([changed, *options]) == verifier.REFUSED
            told = capsys.readouterr().out
            assert told.startswith(says)
            assert told.count("REFUSED") == 1
    other = await pack_signed(tmp_path / "changed.zip", files, MemorySigner(seed=2))
    assert verifier.main([str(other)]) == verifier.REFUSED
    assert "REFUSED the bundle is not signed by audit.example/test\n" in capsys.readouterr().out


async def test_a_bundle_that_was_not_touched(bundle, tmp_path, capsys):
    path, vkey = bundle
    assert verifier.main([str(path), "--key", vkey]) == verifier.PROVEN
    same = await pack_signed(tmp_path / "same.zip", unpack(path))
    assert verifier.main([str(same)]) == verifier.PROVEN
    assert "REFUSED" not in capsys.readouterr().out


async def test_a_bundle_under_a_forgers_own_key_is_refused_by_the_right_one(log, tmp_path, capsys):
    forged = log.copy()
    path = tmp_path / "forged.zip"
    await write_bundle(forged, path)
    files = unpack(path)
    signer = MemorySigner(seed=2)
    text = await checkpoint.sign(signer, "audit.example/test", 600, log.state.head.root)
    own = (await notes.key_of(signer, "audit.example/test")).vkey
    files["checkpoint"] = text.encode()
    manifest(vkey=own)(files)
    changed = str(await pack_signed(path, files, signer))
    assert verifier.main([changed]) == verifier.PROVEN
    assert "integrity, not origin" in capsys.readouterr().out
    vkey = (await log.proofs().key()).vkey
    assert verifier.main([changed, "--key", vkey]) == verifier.REFUSED


async def test_records_left_out_by_the_service_are_told_as_a_number(bundle, tmp_path, capsys):
    path, _ = bundle
    files = unpack(path)
    recounted(lambda found: found.pop(100))(files)
    signed = await pack_signed(tmp_path / "changed.zip", files)
    assert verifier.main([str(signed)]) == verifier.PROVEN
    assert "leaves 0 to 599 of 600; 1 between them are not in" in capsys.readouterr().out


TERMS = {
    "event_type": "user_action",
    "user_id": 1,
    "resource": "card/1",
    "action": "move",
    "request_id": "r",
    "session_id": "s",
    "severity": "low",
}
WHOLE = TERMS | {"resource_prefix": "card/"}


@pytest.fixture
async def filtered(tmp_path):
    log = MemoryLog()
    for event_id in ("a", "b", "young"):
        head = {"event_id": event_id, "timestamp": to_text(log.now)}
        log.accept(event_id, json.dumps(head | TERMS).encode())
        if event_id == "b":
            await log.seal()
    path = tmp_path / "filtered.zip"
    await write_bundle(log, path, wanted=Filter(**WHOLE))
    return path


async def test_a_bundle_of_what_its_filter_asks_for(filtered, capsys):
    assert verifier.main([str(filtered)]) == verifier.NOT_PROVEN
    assert "proven 2, not proven 1, refused 0" in capsys.readouterr().out


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("is_sealed", [True, False])
async def test_records_that_the_filter_does_not_ask_for(
    filtered, name, is_sealed, tmp_path, capsys
):
    files = unpack(filtered)
    changed = str(tmp_path / "changed.zip")
    if is_sealed:
        other = 2 if name == "user_id" else "x"
        edit_json(files, "manifest.json", lambda found: found["filter"].update({name: other}))
        named = "REFUSED record 2 (b): not what"
    else:
        # Nothing but the filter can tell that a record without a proof was changed.
        own = "resource" if name == "resource_prefix" else name
        edit_json(files, "manifest.json", lambda found: found.update(filter={name: WHOLE[name]}))

        def change(record):
            members = json.loads(record)
            members[own] = True if own == "user_id" else "x"
            return json.dumps(members).encode()

        record_of(2, change)(files)
        named = "REFUSED record 3 (young): not what"
    assert verifier.main([str(await pack_signed(Path(changed), files))]) == verifier.REFUSED
    assert f"{named} the bundle's filter asks for ({name})" in capsys.readouterr().out


@pytest.mark.parametrize(
    "moment", ["2026-11-24T12:00:00.000000Z", "2026-11-26T12:00:00.000000Z", "2026-11-25"]
)
async def test_a_record_without_a_proof_that_is_of_another_time(filtered, moment, tmp_path, capsys):
    files = unpack(filtered)
    record_of(2, lambda record: json.dumps({**json.loads(record), "timestamp": moment}).encode())(
        files
    )
    assert (
        verifier.main([str(await pack_signed(tmp_path / "changed.zip", files))]) == verifier.REFUSED
    )
    assert "REFUSED record 3 (young): " in capsys.readouterr().out


async def test_the_record_that_is_out_of_order_is_named(bundle, tmp_path, capsys):
    files = unpack(bundle[0])
    lines(lambda found: found.insert(100, found.pop(101)))(files)
    assert (
        verifier.main([str(await pack_signed(tmp_path / "changed.zip", files))]) == verifier.REFUSED
    )
    told = [line for line in capsys.readouterr().out.splitlines() if "REFUSED" in line]
    assert told == ["REFUSED record 102 (e000100): not in the order of the log"]


def hidden_first(content):
    """Another entry's bytes, so that the file begins as a ZIP does."""
    return b"PK\3\4" + bytes(26) + content


FRAMES = {
    "before": lambda content: b"#!/bin/sh\n" + content,
    "before, as an entry": hidden_first,
    "after": lambda content: content + b"x",
    "after, another bundle": lambda content: content + content,
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_bytes_around_a_bundle(bundle, kind, capsys):
    path, vkey = bundle
    path.write_bytes(FRAMES[kind](path.read_bytes()))
    assert verifier.main([str(path), "--key", vkey]) == verifier.REFUSED
    assert "REFUSED" in capsys.readouterr().out
