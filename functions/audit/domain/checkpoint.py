"""Checkpoints: the log's size and root under its signature.

A checkpoint is a signed note (https://c2sp.org/signed-note) of three lines, origin, size and root
(https://c2sp.org/tlog-checkpoint). Reading one is the verifier's own code: what it would refuse is
refused here.
"""

from __future__ import annotations

import base64
from functools import lru_cache

from contracts.audit.audit_verify import (
    Key,
    RefusedError,
    TreeHead,
    open_checkpoint,
    parse_vkey,
    vkey_of,
)
from functions.audit.domain.errors import SealingError
from functions.audit.domain.ports import Signer

_EM_DASH = "\u2014"
_REMEMBERED = 64


def name_of(size: int) -> str:
    """The name in the evidence store of the checkpoint of a size."""
    return f"checkpoint/{size}"


def body(origin: str, size: int, root: bytes) -> str:
    """The text that is signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


async def key_of(signer: Signer, log_name: str) -> Key:
    """The log's public key. Raises `KeyUnavailableError`, and `ValueError` for a bad log name."""
    return parse_vkey(vkey_of(log_name, await signer.public_key()))


async def sign(signer: Signer, log_name: str, size: int, root: bytes) -> str:
    """A new checkpoint.

    Raises `KeyUnavailableError`, and `SealingError` for a signature that does not hold: an object
    with it could never be replaced.
    """
    text = body(log_name, size, root)
    key = await key_of(signer, log_name)
    signature = await signer.sign(text.encode())
    signed = base64.b64encode(key.key_id + signature).decode()
    note = f"{text}\n{_EM_DASH} {log_name} {signed}\n"
    try:
        open_checkpoint(note, key)
    except RefusedError as refusal:
        raise SealingError(f"The new checkpoint does not hold: {refusal}.") from None
    return note


@lru_cache(_REMEMBERED)
def read(content: bytes, key: Key) -> TreeHead:
    """What a stored checkpoint states, checked. Raises `RefusedError`."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise RefusedError("the checkpoint is not UTF-8") from None
    return open_checkpoint(text, key)
