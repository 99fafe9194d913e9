"""Signed notes (https://c2sp.org/signed-note): texts under the log's signature.

Reading one is the verifier's own code: what it would refuse is refused here.
"""

from __future__ import annotations

import base64

from contracts.audit.audit_verify import Key, RefusedError, open_note, parse_vkey, vkey_of
from functions.audit.domain.errors import SealingError
from functions.audit.domain.ports import Signer

_EM_DASH = "\u2014"


async def key_of(signer: Signer, log_name: str) -> Key:
    """The log's public key. Raises `KeyUnavailableError`, and `ValueError` for a bad log name."""
    return parse_vkey(vkey_of(log_name, await signer.public_key()))


async def sign(signer: Signer, log_name: str, text: str) -> str:
    """A note of `text`, whose lines all end in a line feed.

    Raises `KeyUnavailableError`, and `SealingError` for a signature that does not hold: what is
    stored with it could never be replaced.
    """
    key = await key_of(signer, log_name)
    signature = await signer.sign(text.encode())
    signed = base64.b64encode(key.key_id + signature).decode()
    note = f"{text}\n{_EM_DASH} {log_name} {signed}\n"
    try:
        open_note(note, key, "the new note")
    except RefusedError as refusal:
        raise SealingError(f"A signature does not hold: {refusal}.") from None
    return note
