"""The images of a message, kept before a model is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from functions.ai.domain.images import (
    MAX_BYTES,
    CallersImage,
    LinkedImage,
    SentImage,
    is_image_type,
    not_taken,
    too_large,
)
from functions.ai.domain.inference import ImageRef
from functions.ai.domain.models import Session
from functions.ai.domain.ports import ContentStore
from servicekit.ids import new_uuid7


def session_prefix(session: Session) -> str:
    """What the keys of all objects of a session begin with."""
    return f"projects/{session.project_id}/sessions/{session.session_id}/"


class ImageKeeper:
    """Stores the files that came with a message, and looks after the objects that it refers to."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content

    async def keep(self, images: Sequence[CallersImage], session: Session) -> tuple[ImageRef, ...]:
        """The message's images as objects, in their order.

        Raises `InvalidRequestError`, `ContentTooLargeError` and `StoreUnavailableError`.
        """
        # Nothing is stored of a message that is refused.
        linked = {
            place: self._linked(image, place)
            for place, image in enumerate(images)
            if isinstance(image, LinkedImage)
        }
        found = dict(zip(linked, await asyncio.gather(*linked.values()), strict=True))
        sent = {
            place: self._sent(image, session)
            for place, image in enumerate(images)
            if isinstance(image, SentImage)
        }
        found |= zip(sent, await asyncio.gather(*sent.values()), strict=True)
        return tuple(found[place] for place in range(len(images)))

    async def _sent(self, image: SentImage, session: Session) -> ImageRef:
        extension = image.media_type.rpartition("/")[2]
        key = f"{session_prefix(session)}images/{new_uuid7()}.{extension}"
        await self._content.put(key, image.media_type, image.data)
        return ImageRef(image.media_type, key, len(image.data))

    async def _linked(self, image: LinkedImage, place: int) -> ImageRef:
        # Whatever else is named is not so much as asked for.
        facts = None
        if image.bucket == self._content.bucket:
            facts = await self._content.head(image.key)
        if facts is None:
            raise not_taken(place, "The reference leads to no image.")
        if not is_image_type(facts.media_type):
            raise not_taken(place, "The reference leads to something else than an image.")
        if facts.size > MAX_BYTES:
            raise too_large(place)
        return ImageRef(facts.media_type, image.key, facts.size)
