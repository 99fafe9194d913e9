"""Images in chats: what is taken, what is kept, what a model is shown, and how it ends."""

import asyncio
import json
import re
from dataclasses import replace

import pytest

from contracts.ai import v1
from functions.ai.domain.errors import ProviderThrottledError, ProviderUnavailableError
from functions.ai.domain.image_loader import UNSEEN, VANISHED
from functions.ai.domain.images import MAX_BYTES
from functions.ai.domain.inference import Completion, Image, Text, Usage
from functions.ai.routes import job_queue
from servicekit.errors import StoreUnavailableError
from tests.fakes.ai_app import AiService, chat_body
from tests.fakes.jobs import Jobs, record
from tests.fakes.memory import ScriptedProvider
from tests.fakes.pictures import GIF, JPEG, PNG, WEBP, data_url

pytestmark = pytest.mark.anyio

CHAT = "/api/v1/chat"
BUCKET = "santaclaude-content"
KEPT = f"s3://{BUCKET}/projects/7/sessions/s0/images/i0.png"
TEXT_ALONE = "amazon.nova-micro-v1:0"
PICTURE = Image("image/png", PNG)


@pytest.fixture
def service() -> AiService:
    return AiService()


def keep(service, reference=KEPT, media_type="image/png", data=PNG):
    service.memory.content.objects[reference.removeprefix(f"s3://{BUCKET}/")] = (media_type, data)


async def chat(service, **fields):
    answer = await service.call("POST", CHAT, chat_body(**fields))
    assert answer.status_code == 200, answer.text
    return answer.json()["session_id"]


def shown(service, call=-1):
    """The parts of what the user said last."""
    return service.provider.prompts[call].utterances[-1].parts


@pytest.mark.parametrize(
    ("media_type", "data"),
    [("image/png", PNG), ("image/gif", GIF), ("image/jpeg", JPEG), ("image/webp", WEBP)],
)
async def test_a_file_is_kept_and_shown(service, media_type, data):
    session_id = await chat(service, message="What is it?", images=[data_url(data, media_type)])
    assert shown(service) == (Image(media_type, data), Text("What is it?"))
    ((key, stored),) = service.memory.content.objects.items()
    assert stored == (media_type, data)
    extension = media_type.removeprefix("image/")
    prefix = f"projects/7/sessions/{session_id}/images/"
    assert re.fullmatch(f"{prefix}[0-9a-f-]{{36}}\\.{extension}", key)
    question, answer = await service.messages(session_id)
    assert question["images"] == [f"s3://{BUCKET}/{key}"]
    assert answer["images"] is None
    page = await service.call("GET", f"/api/v1/sessions/{session_id}/messages")
    assert page.json()["messages"][0]["images"] == question["images"]


async def test_images_keep_their_order_and_need_no_words(service):
    keep(service)
    other = data_url(GIF, "image/gif")
    session_id = await chat(service, message=" ", images=[other, KEPT, other])
    gif = Image("image/gif", GIF)
    assert shown(service) == (gif, PICTURE, gif)
    (question, _) = await service.messages(session_id)
    assert question["images"][1] == KEPT


async def test_later_turns_see_what_was_shown_before(service):
    session_id = await chat(service, images=[data_url()])
    await chat(service, session_id=session_id, message="And now?")
    assert service.provider.prompts[-1].utterances[0].parts == (PICTURE, Text("Hi"))
    (question, *_) = await service.messages(session_id)
    again = await chat(service, images=question["images"])
    assert again != session_id
    assert shown(service) == (PICTURE, Text("Hi"))
    assert len(service.memory.content.objects) == 1


@pytest.mark.parametrize(
    "image",
    [
        "s3://another-bucket/projects/7/sessions/s0/images/i0.png",
        f"s3://{BUCKET}/projects/8/sessions/s0/images/i0.png",
        f"s3://{BUCKET}/projects/77/sessions/s0/images/i0.png",
        f"s3://{BUCKET}/projects/07/sessions/s0/images/i0.png",
        f"s3://{BUCKET}/projects/7/../8/i0.png",
        f"s3://{BUCKET}/projects/7/./i0.png",
        f"s3://{BUCKET}/projects/7/%2e%2e/8/i0.png",
        f"s3://{BUCKET}/projects/7//i0.png",
        f"s3://{BUCKET}/projects/7/i0.png\n",
        f"s3://{BUCKET}/projects/7/i0.png?versionId=1",
        f"s3://{BUCKET}/projects/7/",
        f"s3://{BUCKET}/projects/7",
        f"s3://{BUCKET}/",
        f"s3://{BUCKET}",
        "s3:///projects/7/i0.png",
        f"s3://{BUCKET}/projects/7/{'i' * 1_024}",
        f"s3://user@{BUCKET}/projects/7/i0.png",
        f"S3://{BUCKET}/projects/7/i0.png",
    ],
)
async def test_a_reference_to_anything_else_is_refused_and_not_followed(service, image):
    keep(service, image)
    answer = await service.call("POST", CHAT, chat_body(images=[KEPT, image]))
    assert answer.status_code == 422
    fields = [error["field"] for error in answer.json()["errors"]]
    assert fields in (["images.0"], ["images.1"])
    assert image.removeprefix(f"s3://{BUCKET}/") not in service.memory.content.heads
    assert service.memory.content.reads == []
    assert service.provider.prompts == []
    assert service.memory.sessions.sessions == {}


@pytest.mark.parametrize(
    "image",
    [
        "",
        "https://pictures.test/cat.png",
        "file:///etc/passwd",
        data_url(PNG, "image/svg+xml"),
        data_url(PNG, "image/heic"),
        data_url(PNG, "IMAGE/PNG"),
        data_url(PNG, "image/gif"),
        data_url(PNG[1:]),
        data_url(b""),
        data_url(b"<svg/>"),
        data_url(b"RIFF____WAVE", "image/webp"),
        f"data:image/png,{PNG!r}",
        f"{data_url()[:-4]}\n{data_url()[-4:]}",
        f"{data_url()}%3D",
        f"{data_url()[:60]}=",
        data_url() + "\u00e9",
        f" {data_url()}",
    ],
)
async def test_what_is_no_image_is_refused(service, image):
    answer = await service.call("POST", CHAT, chat_body(images=[data_url(), image]))
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == "images.1"
    assert service.memory.content.objects == {}
    assert service.memory.sessions.sessions == {}


async def test_images_are_few(service):
    await chat(service, images=[data_url()] * 8)
    answer = await service.call("POST", CHAT, chat_body(images=[data_url()] * 9))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "images"


@pytest.mark.parametrize("message", ["", " "])
async def test_neither_words_nor_images_are_no_message(service, message):
    answer = await service.call("POST", CHAT, chat_body(message=message, images=[]))
    assert answer.status_code == 422


async def test_an_object_that_is_no_image_is_refused(service):
    keep(service, media_type="application/json")
    answer = await service.call("POST", CHAT, chat_body(images=[KEPT]))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "images.0"
    assert service.memory.content.reads == []


async def test_an_object_may_be_as_large_as_every_provider_takes(service):
    keep(service, data=PNG.ljust(MAX_BYTES))
    await chat(service, images=[KEPT])
    keep(service, data=PNG.ljust(MAX_BYTES + 1))
    answer = await service.call("POST", CHAT, chat_body(images=[data_url(), KEPT]))
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["field"] == "images.1"
    assert len(service.memory.content.objects) == 1


async def test_a_file_larger_than_the_body_may_be_is_refused(service):
    large = data_url(PNG.ljust(2_000_000))
    answer = await service.call("POST", CHAT, chat_body(images=[large]))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    await chat(service, images=[data_url(PNG.ljust(1_800_000))])


async def test_what_is_gone_since_is_said_in_words(service):
    session_id = await chat(service, images=[data_url()])
    service.memory.content.objects.clear()
    await chat(service, session_id=session_id, message="And now?")
    assert service.provider.prompts[-1].utterances[0].parts == (Text(VANISHED), Text("Hi"))


async def test_a_model_that_is_known_to_read_text_alone_is_not_shown_images(service):
    answer = await service.call("POST", CHAT, chat_body(model=TEXT_ALONE, images=[data_url()]))
    assert (answer.status_code, answer.json()["code"]) == (422, "images_not_supported")
    assert TEXT_ALONE in answer.json()["detail"]
    session = await service.new_session(model=TEXT_ALONE)
    body = chat_body(session_id=session["session_id"], images=[data_url()])
    answer = await service.call("POST", CHAT, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "images_not_supported")
    assert await service.messages(session["session_id"]) == []
    assert service.memory.content.objects == {}


async def test_a_model_of_which_nothing_is_known_is_asked(service):
    await chat(service, model="llama3.2", images=[data_url()])
    assert shown(service)[0] == PICTURE


async def test_a_session_goes_on_with_a_model_that_reads_text_alone(service):
    session_id = await chat(service, images=[data_url()])
    service.memory.content.reads.clear()
    await chat(service, session_id=session_id, model=TEXT_ALONE, message="And now?")
    assert service.provider.prompts[-1].utterances[0].parts == (Text(UNSEEN), Text("Hi"))
    assert service.memory.content.reads == []


async def test_a_session_without_a_model_gets_one_that_sees():
    equals = [
        {"provider": "bedrock", "model": TEXT_ALONE, "weight": 100},
        {"provider": "bedrock", "model": "amazon.nova-lite-v1:0", "weight": 1},
    ]
    service = AiService(ROUTING=json.dumps({"default": equals, "fallbacks": []}))
    for _ in range(20):
        await chat(service, images=[data_url()])
    assert {prompt.model for prompt in service.provider.prompts} == {"amazon.nova-lite-v1:0"}


async def test_models_that_stand_in_are_shown_the_same_and_it_is_read_once():
    stand_ins = [
        {"provider": "bedrock", "model": name} for name in (TEXT_ALONE, "amazon.nova-pro-v1:0")
    ]
    provider = ScriptedProvider([ProviderUnavailableError()])
    service = AiService(
        provider=provider, ROUTING=json.dumps({"default": [], "fallbacks": stand_ins})
    )
    answer = await service.call("POST", CHAT, chat_body(images=[data_url()]))
    assert answer.status_code == 503
    assert [prompt.model for prompt in provider.prompts[::3]] == [
        "amazon.nova-lite-v1:0",
        "amazon.nova-pro-v1:0",
    ]
    assert all(prompt.utterances[-1].parts[0] == PICTURE for prompt in provider.prompts)
    assert len(service.memory.content.reads) == 1


async def test_another_attempt_keeps_no_second_copy():
    provider = ScriptedProvider([ProviderThrottledError(retry_after=60)])
    service = AiService(provider=provider)
    body = chat_body(images=[data_url()])
    first = await service.call("POST", CHAT, body, idempotency_key="k")
    assert first.status_code == 429
    provider.script = [["Fine"], Completion(Usage(1, 1))]
    again = await service.call("POST", CHAT, body, idempotency_key="k")
    assert again.status_code == 200
    assert shown(service)[0] == PICTURE
    assert len(service.memory.content.objects) == 1
    question, _ = await service.messages(again.json()["session_id"])
    assert len(question["images"]) == 1


async def test_a_job_shows_its_images():
    jobs = Jobs()
    job_id = await jobs.create(message="", images=[data_url()])
    await job_queue.work(jobs.worker, record(job_id))
    assert (await jobs.job(job_id))["status"] == "completed"
    assert shown(jobs) == (PICTURE,)


async def test_nothing_begins_whose_images_cannot_be_kept(service):
    service.memory.content.failure = StoreUnavailableError()
    answer = await service.call("POST", CHAT, chat_body(images=[data_url()]))
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert service.memory.turns.turns == {}


async def test_a_turn_whose_images_cannot_be_read_fails_and_can_be_tried_again(service):
    session_id = await chat(service, images=[data_url()])
    service.memory.content.failure = StoreUnavailableError()
    body = chat_body(session_id=session_id, message="And now?")
    answer = await service.call("POST", CHAT, body, idempotency_key="k")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    service.memory.content.failure = None
    answer = await service.call("POST", CHAT, body, idempotency_key="k")
    assert answer.status_code == 200


async def test_a_session_that_answers_another_message_keeps_no_images(service):
    service.provider.script = [["One"], None, Completion(Usage(1, 1))]
    session = await service.new_session()
    body = chat_body(session_id=session["session_id"])
    running = asyncio.create_task(service.call("POST", CHAT, body))
    await service.provider.asked.wait()
    answer = await service.call("POST", CHAT, body | {"images": [data_url()]})
    assert (answer.status_code, answer.json()["code"]) == (409, "turn_in_progress")
    assert service.memory.content.objects == {}
    service.provider.go.set()
    assert (await running).status_code == 200


async def test_a_turn_whose_process_is_gone_is_not_in_the_way_of_images(service):
    session_id = await chat(service)
    memory = service.memory
    turn = next(iter(memory.turns.turns.values()))
    stuck = replace(turn, status="running", attempt=2, lease_expires_at=1)
    memory.turns.turns[turn.turn_id] = stuck
    session = memory.sessions.sessions[session_id]
    memory.sessions.sessions[session_id] = replace(session, turn_id=turn.turn_id)
    await chat(service, session_id=session_id, images=[data_url()])
    assert shown(service)[0] == PICTURE


def test_limits_are_those_of_the_contract():
    assert MAX_BYTES == v1.MAX_IMAGE_BYTES


async def test_a_session_takes_its_images_along(service):
    session_id = await chat(service, images=[data_url()])
    other = await chat(service, images=[data_url()])
    answer = await service.call("DELETE", f"/api/v1/sessions/{session_id}")
    assert answer.status_code == 200
    (left,) = service.memory.content.objects
    assert left.startswith(f"projects/7/sessions/{other}/")


async def test_a_deletion_that_broke_off_is_seen_by_nobody_and_can_be_repeated(service):
    session_id = await chat(service, images=[data_url()])
    service.memory.content.failure = StoreUnavailableError()
    path = f"/api/v1/sessions/{session_id}"
    assert (await service.call("DELETE", path)).status_code == 503
    assert (await service.call("GET", path)).status_code == 404
    listed = await service.call("GET", "/api/v1/sessions?project_id=7")
    assert listed.json()["sessions"] == []
    body = chat_body(session_id=session_id, images=[data_url()])
    assert (await service.call("POST", CHAT, body)).status_code == 404
    service.memory.content.failure = None
    assert (await service.call("DELETE", path)).status_code == 200
    assert service.memory.content.objects == {}
    assert (await service.call("DELETE", path)).status_code == 404


async def test_images_of_several_turns_are_read_side_by_side(service):
    started = 0
    all_started = asyncio.Event()
    session_id = await chat(service, images=[data_url()] * 3)
    read = service.memory.content.get

    async def get(key):
        nonlocal started
        started += 1
        if started == 3:
            all_started.set()
        await all_started.wait()
        return await read(key)

    service.memory.content.get = get
    await chat(service, session_id=session_id, message="And now?")
    assert started == 3
