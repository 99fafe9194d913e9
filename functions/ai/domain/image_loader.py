"""The images of a prompt: which of them a model is shown, and their files.

A prompt holds references until its model is asked: only what survived `context.fit` is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from functions.ai.domain.catalogue import Model
from functions.ai.domain.inference import Image, ImageRef, Part, Prompt, Text
from functions.ai.domain.ports import ContentStore

MAX_IMAGES = 20
"""Of a prompt: as many as Bedrock's Converse takes. The newest count."""

MAX_BYTES = 12_000_000
"""Of a prompt's images together. As base64 it is 16 MB: the least that a provider takes of a
request is Gemini's 20 MB, and a turn's memory holds it more than once."""

LOADS_AT_ONCE = 4

VANISHED = "[An image that is no longer kept.]"
LEFT_OUT = "[An earlier image, left out for the number or the size of those that followed.]"
UNSEEN = "[An image, which this model cannot see.]"


def shown(prompt: Prompt, model: Model) -> Prompt:
    """The prompt with words in the place of the images that the model cannot see."""
    if model.may_see:
        return prompt
    return _replaced(prompt, lambda _: Text(UNSEEN))


def bounded(prompt: Prompt) -> Prompt:
    """The prompt with words in the place of all but its newest images, as far as they are many."""
    left, room = MAX_IMAGES, MAX_BYTES

    def within(image: ImageRef) -> Part:
        nonlocal left, room
        left, room = left - 1, room - image.size
        # One that does not fit ends it: smaller ones before it would come in its place.
        if left < 0 or room < 0:
            left = 0
            return Text(LEFT_OUT)
        return image

    return _replaced(prompt, within)


class ImageLoader:
    """Reads the images of one turn's prompts, each of them once."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._found: dict[str, bytes | None] = {}
        self._room = asyncio.Semaphore(LOADS_AT_ONCE)

    async def loaded(self, prompt: Prompt) -> Prompt:
        """The prompt with the files themselves, and with words where a file is gone.

        Raises `StoreUnavailableError`.
        """
        keys = {part.key for part in _images(prompt)}
        await asyncio.gather(*(self._load(key) for key in sorted(keys - self._found.keys())))
        return _replaced(prompt, self._file)

    async def _load(self, key: str) -> None:
        async with self._room:
            self._found[key] = await self._content.get(key)

    def _file(self, image: ImageRef) -> Part:
        data = self._found[image.key]
        return Text(VANISHED) if data is None else Image(image.media_type, data)


def _images(prompt: Prompt) -> list[ImageRef]:
    parts = [part for said in prompt.utterances for part in said.parts]
    return [part for part in parts if isinstance(part, ImageRef)]


def _replaced(prompt: Prompt, other: Callable[[ImageRef], Part]) -> Prompt:
    """The prompt with what `other` makes of its images, of which it is given the newest first."""
    if not _images(prompt):
        return prompt
    newest_first = []
    for said in reversed(prompt.utterances):
        parts = [other(p) if isinstance(p, ImageRef) else p for p in reversed(said.parts)]
        newest_first.append(replace(said, parts=tuple(reversed(parts))))
    return replace(prompt, utterances=tuple(reversed(newest_first)))
