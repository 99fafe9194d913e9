"""Small pictures, as callers send them."""

from base64 import b64decode, b64encode

# One pixel each.
PNG = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L" + bytes(14)


def data_url(data: bytes = PNG, media_type: str = "image/png") -> str:
    """The file in a URL."""
    return f"data:{media_type};base64,{b64encode(data).decode()}"
