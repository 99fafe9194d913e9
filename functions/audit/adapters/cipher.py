"""AES-256-GCM (NIST SP 800-38D): 96 random bits of nonce, ciphertext, 128 bits of tag."""

from __future__ import annotations

import os

_NONCE_BYTES = 12


class AesGcm:
    """`ports.Cipher`. The library is loaded with the first personal field."""

    def encrypt(self, key: bytes, plain: bytes, bound_to: bytes) -> bytes:
        """The nonce, then the ciphertext with its tag."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)

    def decrypt(self, key: bytes, ciphertext: bytes, bound_to: bytes) -> bytes | None:
        """What was encrypted, or None."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        nonce, rest = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, rest, bound_to)
        except (InvalidTag, ValueError):
            return None
