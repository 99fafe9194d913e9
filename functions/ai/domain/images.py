"""Images as callers send them: files in data URLs, or references to those that are kept."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard, get_args

from functions.ai.domain.inference import ImageType
from servicekit.errors import AppError, ContentTooLargeError, InvalidRequestError

MAX_BYTES = 3_750_000
"""Of an image's file: the contract's MAX_IMAGE_BYTES."""

MAX_KEY_LENGTH = 1_024
"""Characters of an object's key in S3."""

_DATA_URL = re.compile(r"data:(image/[a-z]{3,4});base64,", re.ASCII)
# What we make keys of, and no more: nothing is escaped, and no path has steps that lead back.
_REFERENCE = re.compile(
    r"s3://(?P<bucket>[a-z0-9.-]{3,63})/"
    r"(?P<key>projects/(?P<project>[1-9][0-9]{0,9})(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)",
    re.ASCII,
)
_BEGINNINGS: Mapping[ImageType, re.Pattern[bytes]] = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
}


@dataclass(frozen=True, slots=True)
class SentImage:
    """A file that came with the message."""

    media_type: ImageType
    data: bytes


@dataclass(frozen=True, slots=True)
class LinkedImage:
    """An object that the message refers to, of the caller's own project by its key."""

    bucket: str
    key: str


CallersImage = SentImage | LinkedImage


def read_images(spelt: Sequence[str], project_id: int) -> tuple[CallersImage, ...]:
    """What a request's `images` are. Raises `InvalidRequestError` and `ContentTooLargeError`."""
    return tuple(_read(text, project_id, place) for place, text in enumerate(spelt))


def is_image_type(name: str) -> TypeGuard[ImageType]:
    """Whether it is a media type that all providers take."""
    return name in get_args(ImageType)


def not_taken(place: int, why: str) -> AppError:
    """The error for the image at that place of the request's."""
    return InvalidRequestError(errors=[{"field": f"images.{place}", "message": why}])


def too_large(place: int) -> AppError:
    """The error for an image of more than `MAX_BYTES`."""
    message = f"The image has more than {MAX_BYTES} bytes."
    return ContentTooLargeError(errors=[{"field": f"images.{place}", "message": message}])


def _read(text: str, project_id: int, place: int) -> CallersImage:
    if found := _DATA_URL.match(text):
        return _sent(found[1], text[found.end() :], place)
    reference = _REFERENCE.fullmatch(text)
    if reference is None or len(reference["key"]) > MAX_KEY_LENGTH:
        raise not_taken(place, "It is neither a data URL of an image nor an image's reference.")
    if int(reference["project"]) != project_id:
        raise not_taken(place, "The reference is not one of the project's.")
    return LinkedImage(reference["bucket"], reference["key"])


def _sent(media_type: str, encoded: str, place: int) -> SentImage:
    if not is_image_type(media_type):
        raise not_taken(place, f"Images are {', '.join(get_args(ImageType))}.")
    try:
        data = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise not_taken(place, "Its data is not base64.") from None
    if len(data) > MAX_BYTES:
        raise too_large(place)
    if not _BEGINNINGS[media_type].match(data):
        raise not_taken(place, f"Its data is no file of the type {media_type}.")
    return SentImage(media_type, data)
