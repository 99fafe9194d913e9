"""Checkpoints: the log's size and root under its signature.

A checkpoint is a signed note of three lines, origin, size and root
(https://c2sp.org/tlog-checkpoint).
"""

from __future__ import annotations

import base64
from functools import lru_cache

from contracts.audit.audit_verify import Key, RefusedError, TreeHead, open_checkpoint
from functions.audit.domain import notes
from functions.audit.domain.ports import Signer

_REMEMBERED = 64


def name_of(size: int) -> str:
    """The name in the evidence store of the checkpoint of a size."""
    return f"checkpoint/{size}"


def body(origin: str, size: int, root: bytes) -> str:
    """The text that is signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


async def sign(signer: Signer, log_name: str, size: int, root: bytes) -> str:
    """A new checkpoint. Raises as `notes.sign`."""
    return await notes.sign(signer, log_name, body(log_name, size, root))


@lru_cache(_REMEMBERED)
def read(content: bytes, key: Key) -> TreeHead:
    """What a stored checkpoint states, checked. Raises `RefusedError`."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise RefusedError("the checkpoint is not UTF-8") from None
    return open_checkpoint(text, key)
