"""Which images of a prompt a model is shown."""

import asyncio

import pytest

from functions.ai.adapters.session_items import message_from, message_item
from functions.ai.domain.context import fit
from functions.ai.domain.image_loader import (
    LEFT_OUT,
    LOADS_AT_ONCE,
    MAX_BYTES,
    MAX_IMAGES,
    ImageLoader,
    bounded,
)
from functions.ai.domain.inference import Image, ImageRef, Prompt, Text, Utterance
from functions.ai.domain.models import Draft, Message, Session
from functions.ai.domain.routing import Needs
from functions.ai.domain.tokens import IMAGE_TOKENS, prompt_tokens, utterance_tokens
from servicekit.clock import utc_now
from tests.fakes.memory_content import MemoryContent

pytestmark = pytest.mark.anyio

NOW = utc_now()
SESSION = Session("s1", 5, 7, 3, None, "bedrock", "m", "active", {}, NOW)


def ref(number: int, size: int = 10) -> ImageRef:
    return ImageRef("image/png", f"projects/7/{number}", size)


def prompt(*parts, before=()):
    earlier = [Utterance("user", tuple(before)), Utterance("assistant", (Text("Yes"),))]
    return Prompt("m", (), (*(earlier if before else ()), Utterance("user", parts)))


def parts(asked: Prompt):
    return [part for said in asked.utterances if said.role == "user" for part in said.parts]


def test_all_are_shown_as_long_as_they_are_few():
    asked = prompt(*map(ref, range(MAX_IMAGES)), Text("?"))
    assert bounded(asked) == asked


def test_of_many_the_newest_are_shown():
    earlier, newest = [ref(0), ref(1), ref(2)], [ref(n) for n in range(3, MAX_IMAGES + 2)]
    shown = parts(bounded(prompt(*newest, Text("?"), before=earlier)))
    assert shown == [Text(LEFT_OUT), Text(LEFT_OUT), ref(2), *newest, Text("?")]


def test_large_ones_are_fewer():
    large = MAX_BYTES // 2
    asked = prompt(ref(2, large), ref(3, large), before=[ref(0, 1), ref(1, large)])
    shown = parts(bounded(asked))
    assert shown == [Text(LEFT_OUT), Text(LEFT_OUT), ref(2, large), ref(3, large)]


def test_a_reference_counts_as_an_image():
    assert Needs.of(prompt(ref(1))) == Needs(images=True)
    (picture,) = prompt(Image("image/png", b"x")).utterances
    assert utterance_tokens(prompt(ref(1)).utterances[0]) == utterance_tokens(picture)
    assert prompt_tokens(prompt(ref(1))) - prompt_tokens(prompt(Text(""))) == IMAGE_TOKENS


async def test_what_the_window_has_no_room_for_is_not_read():
    content = MemoryContent("b")
    asked = prompt(ref(2), before=[ref(1), Text("x" * 9_000)])
    fitted = fit(asked, 12_000, 4_000).prompt
    await ImageLoader(content).loaded(fitted)
    assert content.reads == ["projects/7/2"]


async def test_few_are_read_at_a_time():
    content = MemoryContent("b")
    running = most = 0

    async def get(_key):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return b"x"

    content.get = get
    loaded = await ImageLoader(content).loaded(prompt(*map(ref, range(MAX_IMAGES))))
    assert parts(loaded) == [Image("image/png", b"x")] * MAX_IMAGES
    assert most == LOADS_AT_ONCE


def test_messages_keep_their_images():
    draft = Draft(1, "user", "", NOW, images=(ref(1), ref(2)))
    message = Message("s1", 5, 1, draft)
    assert message_from(SESSION, message_item(message)).draft.images == (ref(1), ref(2))


def test_messages_of_earlier_days_have_none():
    item = message_item(Message("s1", 5, 1, Draft(1, "user", "Hi", NOW)))
    del item["images"]
    assert message_from(SESSION, item).draft.images == ()
