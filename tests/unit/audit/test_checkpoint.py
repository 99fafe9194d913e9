"""Checkpoints and keys in the form of https://c2sp.org/tlog-checkpoint and signed-note."""

import base64

import pytest

from contracts.audit.audit_verify import (
    RefusedError,
    TreeHead,
    open_checkpoint,
    parse_vkey,
    verify_signature,
    vkey_of,
)
from functions.audit.domain import checkpoint, notes
from functions.audit.domain.errors import SealingError
from tests.fakes.audit_log import LOG_NAME, MemorySigner

pytestmark = pytest.mark.anyio

ROOT = bytes(range(32))
# The example of https://pkg.go.dev/golang.org/x/mod/sumdb/note, and the key of sum.golang.org.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
SUMDB_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


async def note(size=7, root=ROOT, signer=None):
    return await checkpoint.sign(signer or MemorySigner(), LOG_NAME, size, root)


async def key():
    return await notes.key_of(MemorySigner(), LOG_NAME)


def test_keys_and_signatures_of_another_implementation():
    go = parse_vkey(GO_KEY)
    signature = base64.b64decode(GO_SIGNATURE)
    assert signature[:4] == go.key_id
    assert verify_signature(go.public, GO_TEXT.encode(), signature[4:])
    assert vkey_of(go.name, go.public) == GO_KEY
    assert vkey_of("sum.golang.org", parse_vkey(SUMDB_KEY).public) == SUMDB_KEY


async def test_a_checkpoint_to_the_letter():
    text = await note()
    lines = text.split("\n")
    assert lines[:4] == [LOG_NAME, "7", base64.b64encode(ROOT).decode(), ""]
    assert lines[4].startswith(f"\u2014 {LOG_NAME} ")
    assert lines[5:] == [""]
    assert open_checkpoint(text, await key()) == TreeHead(LOG_NAME, 7, ROOT)
    assert checkpoint.name_of(7) == "checkpoint/7"


async def test_signatures_of_others_are_ignored():
    head, _, signatures = (await note()).rpartition("\n\n")
    foreign = f"\u2014 witness.example/w {base64.b64encode(bytes(68)).decode()}\n"
    same_name = f"\u2014 {LOG_NAME} {base64.b64encode(bytes(68)).decode()}\n"
    for signed in (foreign + signatures, signatures + foreign, same_name + signatures):
        assert open_checkpoint(f"{head}\n\n{signed}", await key()).size == 7
    for signed in (foreign, same_name, foreign * 65 + signatures):
        with pytest.raises(RefusedError):
            open_checkpoint(f"{head}\n\n{signed}", await key())


async def test_extension_lines_are_signed_with_the_rest():
    signer = MemorySigner()
    text = f"{checkpoint.body(LOG_NAME, 7, ROOT)}more\n"
    signature = base64.b64encode((await key()).key_id + await signer.sign(text.encode())).decode()
    signed = f"{text}\n\u2014 {LOG_NAME} {signature}\n"
    assert open_checkpoint(signed, await key()).size == 7
    with pytest.raises(RefusedError):
        open_checkpoint(signed.replace("more", "less"), await key())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "\n",
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("\n7\n", "\n8\n"),
        lambda text: text.replace("\n7\n", "\n07\n"),
        lambda text: text.replace("\n7\n", "\n+7\n"),
        lambda text: text.replace("\n7\n", "\n\u0667\n"),
        lambda text: text.replace("\n7\n", "\n\n"),
        lambda text: text.replace("\n7\n", "\n7\r\n"),
        lambda text: text.replace("\n7\n", "\n" + "9" * 5000 + "\n"),
        lambda text: text.replace("AAEC", "AAED"),
        lambda text: text.replace("Hh8=", "Hh9="),
        lambda text: text.replace("Hh8=", "Hh8"),
        lambda text: text.replace("\u2014", "-"),
        lambda text: text.replace("\u2014 ", "\u2014"),
        lambda text: text.replace(LOG_NAME, "other.example/log", 1),
        lambda text: text.replace(LOG_NAME, "other.example/log"),
        lambda text: text[:-4] + "AA=\n",
        lambda text: text.replace("\n\n", "\nx\n\n"),
    ],
)
async def test_anything_else_is_refused(change):
    text = await note()
    assert change(text) != text
    with pytest.raises(RefusedError):
        open_checkpoint(change(text), await key())


async def test_every_flipped_bit_is_noticed():
    content = (await note()).encode()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        with pytest.raises(RefusedError):
            checkpoint.read(bytes(changed), await key())


async def test_another_key_or_another_logs_checkpoint_is_refused():
    with pytest.raises(RefusedError):
        open_checkpoint(await note(signer=MemorySigner(seed=2)), await key())
    other = await checkpoint.sign(MemorySigner(), "other.example/log", 7, ROOT)
    with pytest.raises(RefusedError):
        open_checkpoint(other, await key())


async def test_a_signature_that_does_not_hold_is_never_stored():
    class Broken(MemorySigner):
        async def sign(self, message):
            return await super().sign(message + b"x")

    with pytest.raises(SealingError):
        await note(signer=Broken())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("c74f20a3", "C74F20A3"),
        GO_KEY.replace("PeterNeumann", "Peter Neumann"),
        GO_KEY.replace("ARpc", "Ahpc"),
        GO_KEY[:-4],
        GO_KEY + "=",
        GO_KEY + "\n",
    ],
)
def test_what_is_no_key(text):
    with pytest.raises(RefusedError):
        parse_vkey(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\x00"])
def test_names_that_no_log_may_have(name):
    with pytest.raises(ValueError):
        vkey_of(name, bytes(32))
