"""The verifier: its Ed25519, its command, and what it makes of malformed input."""

import ast
import functools
import json
import random
import shutil
import sys
import zipfile
from pathlib import Path

import anyio
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contracts.audit import audit_verify as verifier
from functions.audit.domain import merkle
from tests.fakes.audit_bundles import (
    edit_json,
    edit_lines,
    pack_signed,
    unpack,
    write_bundle,
)
from tests.fakes.audit_log import MemoryLog

pytestmark = pytest.mark.anyio

SOURCE = Path(verifier.__file__)
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
# RFC 8032, section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
            "b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
            "1d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
            "c6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]
# The points whose order divides 8, in their canonical encodings.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_vectors_of_rfc_8032(public, message, signature):
    key, text, signed = (bytes.fromhex(value) for value in (public, message, signature))
    assert verifier.verify_signature(key, text, signed)
    assert not verifier.verify_signature(key, text + b"\0", signed)


def test_it_agrees_with_cryptography_on_valid_and_on_damaged_signatures():
    chance = random.Random(1)
    for _ in range(20):
        private = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public = private.public_key().public_bytes_raw()
        message = chance.randbytes(chance.randrange(200))
        signature = private.sign(message)
        assert verifier.verify_signature(public, message, signature)
        for damaged in (bit_flipped(signature, chance), chance.randbytes(64)):
            assert not verifier.verify_signature(public, message, damaged)
            assert not oracle(public, message, damaged)
        other = bit_flipped(public, chance)
        assert not verifier.verify_signature(other, message, signature)


def bit_flipped(value, chance):
    changed = bytearray(value)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def oracle(public, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_a_signature_has_one_form():
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = private.public_key().public_bytes_raw(), private.sign(b"m")
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    assert verifier.verify_signature(public, b"m", signature)
    for scalar in (s + ORDER, s + 2 * ORDER, ORDER, 2**256 - 1):
        if scalar < 2**256:
            malleable = r + scalar.to_bytes(32, "little")
            assert not verifier.verify_signature(public, b"m", malleable)
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(64)):
        assert not verifier.verify_signature(public, b"m", wrong)
    for wrong in (b"", public[:-1], public + b"\0"):
        assert not verifier.verify_signature(wrong, b"m", signature)


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_no_key_of_small_order_signs_anything(encoded):
    key = bytes.fromhex(encoded)
    for r in SMALL_ORDER:
        for message in (b"", b"a", b"b", b"c"):
            signature = bytes.fromhex(r) + bytes(32)
            assert not verifier.verify_signature(key, message, signature)


def test_a_point_has_one_encoding():
    base = bytes.fromhex("58" + "66" * 31)
    assert verifier._encode_point(verifier._decode_point(base)) == base
    for y in range(PRIME, 2**255):
        for sign in (0, 1):
            assert verifier._decode_point((y | sign << 255).to_bytes(32, "little")) is None
    # x is 0 and has no sign, and some y belong to no point.
    for y in (1, PRIME - 1):
        assert verifier._decode_point((y | 1 << 255).to_bytes(32, "little")) is None
    found = [verifier._decode_point(y.to_bytes(32, "little")) for y in range(2, 60)]
    assert None in found
    for point in filter(None, found):
        assert verifier._decode_point(verifier._encode_point(point)) == point


def test_the_file_needs_the_standard_library_and_python_3_9():
    source = SOURCE.read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


@pytest.fixture
async def log():
    log = MemoryLog()
    log.accept_many(20)
    await log.seal()
    log.accept_many(10, prefix="f")
    await log.seal()
    return log


@pytest.fixture
async def bundle(log, tmp_path):
    path = tmp_path / "bundle.zip"
    return path, await write_bundle(log, path)


async def test_the_file_alone_checks_a_bundle_without_anything_around_it(bundle, tmp_path):
    path, vkey = bundle
    shutil.copy(SOURCE, tmp_path / "audit_verify.py")
    command = [sys.executable, "-I", "-S", "audit_verify.py", path.name]
    for options, told in (([], "integrity, not origin"), (["--key", vkey], "given by you")):
        done = await anyio.run_process([*command, *options], cwd=tmp_path, env={}, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert told in done.stdout.decode()
        assert "proven 30, not proven 0, refused 0" in done.stdout.decode()


async def test_what_is_not_sealed_yet_is_told_and_is_no_refusal(log, tmp_path, capsys):
    log.accept("fresh")
    path = tmp_path / "b.zip"
    vkey = await write_bundle(log, path)
    assert verifier.main([str(path), "--key", vkey]) == verifier.NOT_PROVEN
    told = capsys.readouterr().out
    assert "proven 30, not proven 1, refused 0" in told
    assert "NOT PROVEN fresh: not sealed yet when the bundle was made\n" in told


async def test_as_many_that_are_not_proven_are_named_as_can_be_read(
    log, tmp_path, capsys, monkeypatch
):
    log.accept_many(5, prefix="n")
    path = tmp_path / "b.zip"
    await write_bundle(log, path)
    for limit, more in ((5, []), (3, ["2 more"]), (0, ["5 more"])):
        monkeypatch.setattr(verifier, "MAX_NAMED", limit)
        assert verifier.main([str(path)]) == verifier.NOT_PROVEN
        told = [line for line in capsys.readouterr().out.splitlines() if "NOT PROVEN" in line]
        named = [*(f"n{number:06}" for number in range(limit)), *more]
        assert told == [
            f"NOT PROVEN {name}: not sealed yet when the bundle was made" for name in named
        ]


async def test_bundles_of_an_empty_log_and_without_records(tmp_path, capsys):
    log = MemoryLog()
    await write_bundle(log, tmp_path / "nothing.zip")
    assert verifier.main([str(tmp_path / "nothing.zip")]) == verifier.PROVEN
    log.accept("a")
    await write_bundle(log, tmp_path / "pending.zip")
    assert verifier.main([str(tmp_path / "pending.zip")]) == verifier.NOT_PROVEN
    capsys.readouterr()


def test_one_content_is_one_file(tmp_path):
    async def write(name):
        log = MemoryLog()
        log.accept_many(20)
        await log.seal()
        await write_bundle(log, tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert anyio.run(write, "a") == anyio.run(write, "b")


async def test_every_problem_has_its_line(bundle, tmp_path, capsys):
    path, _ = bundle
    files = unpack(path)

    def change(lines):
        lines[3]["record"] = lines[3]["record"].replace("e000003", "e00000x")
        lines[7]["leaf_index"] = 8
        lines[9]["path"] = None

    edit_lines(files, change)
    assert verifier.main([str(await pack_signed(tmp_path / "c.zip", files))]) == verifier.REFUSED
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("REFUSED")]
    assert len(told) == 4
    for line, place in zip(told, ("4 (e00000x)", "8 (e000007)", "9 (e000008)", "10"), strict=True):
        assert f"record {place}" in line


async def test_a_checkpoint_that_was_kept(log, bundle, tmp_path, capsys):
    path, vkey = bundle

    def run(text, *options):
        (tmp_path / "kept").write_text(text)
        return verifier.main(
            [str(path), "--key", vkey, "--against", str(tmp_path / "kept"), *options]
        )

    proofs = log.proofs()
    assert run((await proofs.latest()).text) == verifier.PROVEN
    # An older and a newer one, without a proof and with it.
    older = await proofs.consistency(20, 30)
    (tmp_path / "proof").write_text(json.dumps(as_answer(older)))
    option = ["--consistency", str(tmp_path / "proof")]
    assert run(older.first_checkpoint) == verifier.NOT_PROVEN
    assert "no proof between 20 and 30" in capsys.readouterr().out
    assert run(older.first_checkpoint, *option) == verifier.PROVEN
    log.accept("later")
    await log.seal()
    newer = await proofs.consistency(30, 31)
    assert run(newer.second_checkpoint) == verifier.NOT_PROVEN
    assert "no proof between 30 and 31" in capsys.readouterr().out
    assert run(newer.second_checkpoint, *option) == verifier.NOT_PROVEN
    (tmp_path / "proof").write_text(json.dumps(as_answer(newer)))
    assert run(newer.second_checkpoint, *option) == verifier.PROVEN
    # Another history under the same key.
    forged = MemoryLog()
    forged.accept_many(30, prefix="z")
    for size in (20, 30, 31):
        await forged.sealer(batch_size=max(size - forged.state.head.size, 1)).run(forged.now)
        if size == 30:
            forged.accept("more")
    assert run(forged.objects["checkpoint/31"].decode(), *option) == verifier.REFUSED
    assert run(forged.objects["checkpoint/30"].decode()) == verifier.REFUSED
    (tmp_path / "proof").write_text(json.dumps(as_answer(older)))
    assert run(forged.objects["checkpoint/20"].decode(), *option) == verifier.REFUSED
    assert run("nonsense") == verifier.REFUSED


def as_answer(proof):
    return {
        "first": proof.first,
        "second": proof.second,
        "path": [entry.hex() for entry in proof.path],
        "first_checkpoint": proof.first_checkpoint,
        "second_checkpoint": proof.second_checkpoint,
    }


async def test_single_proofs(log, tmp_path, capsys):
    proofs = log.proofs()
    vkey = (await proofs.key()).vkey
    proof = await proofs.inclusion("e000007")
    answer = {
        "record": proof.record.decode(),
        "leaf_index": proof.leaf_index,
        "tree_size": proof.tree_size,
        "path": [entry.hex() for entry in proof.path],
        "checkpoint": proof.checkpoint,
        "event_id": "e000007",
    }
    file = tmp_path / "proof.json"

    def run(mode, members, *options):
        file.write_text(json.dumps(members))
        return verifier.main([mode, str(file), *options])

    assert run("proof", answer, "--key", vkey) == verifier.PROVEN
    assert run("proof", answer | {"vkey": vkey}) == verifier.PROVEN
    hashed = {"leaf_hash": proof.leaf_hash.hex()}
    assert run("proof", answer | hashed, "--key", vkey) == verifier.PROVEN
    assert run("proof", answer) == verifier.UNUSABLE
    for change in (
        {"record": answer["record"] + " "},
        {"leaf_index": 8},
        {"leaf_index": -1},
        {"leaf_index": True},
        {"tree_size": 29},
        {"path": answer["path"][:-1]},
        {"path": [*answer["path"], "00"]},
        {"path": ["00" * 32] * 65},
        {"checkpoint": "x"},
        {"record": "\ud800"},
        {"record": "x" * 60_001},
        {"record": None},
        {"event_id": "e000008"},
        {"event_id": None},
        {"leaf_hash": "00" * 32},
        {"leaf_hash": None},
    ):
        assert run("proof", answer | change, "--key", vkey) == verifier.REFUSED
    unnamed = {name: value for name, value in answer.items() if name != "event_id"}
    assert run("proof", unnamed, "--key", vkey) == verifier.REFUSED
    assert run("proof", [], "--key", vkey) == verifier.REFUSED

    answer = as_answer(await proofs.consistency(20, 30))
    assert run("consistency", answer, "--key", vkey) == verifier.PROVEN
    empty = as_answer(await proofs.consistency(0, 30))
    assert run("consistency", empty, "--key", vkey) == verifier.PROVEN
    for change in (
        {"first": 19},
        {"second": 29},
        {"path": answer["path"][::-1]},
        {"first_checkpoint": answer["second_checkpoint"]},
        {"second_checkpoint": answer["first_checkpoint"]},
    ):
        assert run("consistency", answer | change, "--key", vkey) == verifier.REFUSED
    assert "begins with that of 20" in capsys.readouterr().out


async def test_input_that_cannot_be_used(bundle, tmp_path, capsys):
    path, _ = bundle
    (tmp_path / "text").write_text("text")
    for arguments in (
        [str(tmp_path / "nothing")],
        [str(tmp_path)],
        [str(tmp_path / "text")],
        ["proof", str(tmp_path / "nothing")],
        ["prof", str(path)],
        ["proof", str(path), "--against", str(path)],
        [str(path), "--key", "nonsense"],
        [str(path), "--against", str(tmp_path / "nothing")],
        [str(path), "--against", str(path)],
        ["a\0b"],
        ["proof", "a\0b"],
    ):
        assert verifier.main(arguments) == verifier.UNUSABLE
        assert capsys.readouterr().out.startswith("UNUSABLE")
    for arguments in ([], ["--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            verifier.main(arguments)
        assert caught.value.code == verifier.UNUSABLE
    with pytest.raises(SystemExit) as caught:
        verifier.main(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert "Exit status" in told
    assert "signed by the service, and proven by no bundle:\n  that no record" in told


def whole(name, content):
    return lambda files: files.update({name: content})


def first_line(content):
    return lambda files: files.update(
        {"records.jsonl": content + b"\n" + files["records.jsonl"].split(b"\n", 1)[1]}
    )


def member(name, key, value):
    return lambda files: edit_json(files, name, lambda members: {**members, key: value})


MALFORMED = {
    "manifest no JSON": whole("manifest.json", b"{"),
    "manifest no UTF-8": whole("manifest.json", b'"\xff"'),
    "manifest a list": whole("manifest.json", b"[]"),
    "manifest very deep": whole("manifest.json", b"[" * 1_000_000),
    "manifest a key twice": whole("manifest.json", b'{"format":1,"format":1}'),
    "manifest NaN": whole("manifest.json", b'{"format":NaN}'),
    "manifest a number without end": whole("manifest.json", b'{"format":' + b"9" * 10_000 + b"}"),
    "format of tomorrow": member("manifest.json", "format", 2),
    "format true": member("manifest.json", "format", True),
    "tree_size negative": member("manifest.json", "tree_size", -1),
    "tree_size a float": member("manifest.json", "tree_size", 30.0),
    "tree_size huge": member("manifest.json", "tree_size", 2**64),
    "span a list": member("manifest.json", "span", []),
    "span without end": member("manifest.json", "span", {"start": "2026-11-25T12:00:00.000000Z"}),
    "created_at nonsense": member("manifest.json", "created_at", "yesterday"),
    "vkey nonsense": member("manifest.json", "vkey", "x"),
    "line no JSON": first_line(b"x"),
    "line a list": first_line(b"[]"),
    "line a member more": first_line(b'{"record":"{}","leaf_index":null,"path":null,"x":1}'),
    "line a record that is none": first_line(b'{"record":"1","leaf_index":null,"path":null}'),
    "line without an id": first_line(b'{"record":"{}","leaf_index":null,"path":null}'),
    "line very deep": first_line(
        b'{"record":"' + b"[" * 50_000 + b'","leaf_index":null,"path":null}'
    ),
    "line with half a surrogate": first_line(b'{"record":"\\ud800","leaf_index":null,"path":null}'),
    "line of great length": first_line(b" " * 600_000),
    "line that is empty": first_line(b""),
    "filter a list": member("manifest.json", "filter", []),
    "filter of tomorrow": member("manifest.json", "filter", {"colour": "red"}),
    "filter of a wrong type": member("manifest.json", "filter", {"user_id": "1"}),
    "schema no JSON": whole("schema.json", b"x"),
    "schema a list": whole("schema.json", b"[]"),
    "checkpoint no UTF-8": whole("checkpoint", b"\xff"),
    "a name that leads away": whole("../x", b""),
    "a file more": whole("consistency.json", b"[]"),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_malformed_content_is_refused(bundle, kind, tmp_path, capsys):
    files = unpack(bundle[0])
    MALFORMED[kind](files)
    assert verifier.main([str(await pack_signed(tmp_path / "c.zip", files))]) == verifier.REFUSED
    assert "REFUSED" in capsys.readouterr().out


async def test_output_holds_nothing_that_moves_a_terminal(bundle, tmp_path, capsys):
    files = unpack(bundle[0])
    record = json.dumps({"event_id": "\x1b[2J\u202e" + "x" * 200, "timestamp": "x"})
    line = json.dumps({"record": record, "leaf_index": None, "path": None}).encode()
    first_line(line)(files)
    assert verifier.main([str(await pack_signed(tmp_path / "c.zip", files))]) == verifier.REFUSED
    told = capsys.readouterr().out
    assert told.isascii()
    assert "\x1b" not in told
    assert max(map(len, told.splitlines())) < 300


async def test_archives_that_are_bombs_or_worse(bundle, tmp_path, capsys, monkeypatch):
    files = unpack(bundle[0])
    path = tmp_path / "c.zip"

    def refused():
        status = verifier.main([str(path)])
        told = capsys.readouterr().out
        assert told.startswith("REFUSED")
        assert "sign" not in told.split("\n")[0]
        assert status == verifier.REFUSED

    await pack_signed(path, files | {"schema.json": bytes(verifier.MAX_FILE_BYTES + 1)})
    refused()
    await pack_signed(path, files | {"records.jsonl": bytes(10_000_000)})
    refused()
    monkeypatch.setattr(verifier, "MAX_RECORDS_BYTES", 1000)
    await pack_signed(path, files)
    refused()
    monkeypatch.undo()
    await pack_signed(path, files | {f"checkpoints/{n}": b"" for n in range(1000)})
    refused()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    refused()
    await pack_signed(path, files)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("checkpoint", b"")
    refused()


async def test_any_damage_to_the_archive_ends_in_a_verdict(bundle, tmp_path, capsys):
    content = bundle[0].read_bytes()
    path = tmp_path / "c.zip"
    chance = random.Random(5)
    for _ in range(80):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 1, 3, 20])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        end = chance.choice([len(damaged)] * 4 + [chance.randrange(len(damaged))])
        path.write_bytes(damaged[:end])
        if damaged[:end] != content:
            assert verifier.main([str(path)]) in (verifier.REFUSED, verifier.UNUSABLE)
    capsys.readouterr()


@pytest.mark.parametrize("options", [[], ["--key"]])
async def test_no_byte_of_a_bundle_can_be_changed(tmp_path, options, capsys, monkeypatch):
    """Every one of the file: records and proofs, the ZIP's own, the signature itself."""
    log = MemoryLog()
    log.accept_many(3)
    await log.seal()
    path = tmp_path / "b.zip"
    vkey = await write_bundle(log, path)
    options = [*options, vkey] if options else []
    assert verifier.main([str(path), *options]) == verifier.PROVEN
    content = path.read_bytes()
    monkeypatch.setattr(verifier, "verify_signature", cached(verifier.verify_signature))
    for place in range(len(content)):
        for value in (content[place] ^ 1, content[place] ^ 0x80, 0 if content[place] else 255):
            changed = bytearray(content)
            changed[place] = value
            path.write_bytes(changed)
            status = verifier.main([str(path), *options])
            assert status in (verifier.REFUSED, verifier.UNUSABLE), place
    capsys.readouterr()


def cached(check):
    return functools.lru_cache(check)


def test_the_tree_is_hashed_as_the_log_hashes_it():
    assert merkle.EMPTY_ROOT == verifier.EMPTY_ROOT
