"""Personal fields: who can read them, and what an erasure does to them."""

import json

import pytest

from functions.audit.domain import personal
from functions.audit.domain.errors import KeyUnavailableError
from functions.audit.domain.models import SubjectKey
from functions.audit.domain.personal import Keyring
from tests.fakes.audit import AuditSink, MemoryWrapping, event_body

pytestmark = pytest.mark.anyio

FIELDS = {"metadata.ip_address": "203.0.113.7", "metadata.location": {"lat": 52.5, "lon": 13.4}}


@pytest.fixture
def sink():
    return AuditSink()


def test_split():
    metadata = {"ip_address": "x", "user_agent": None, "n": {"ip_address": "y"}, "location": {}}
    assert personal.split(metadata) == (
        {"user_agent": None, "n": {"ip_address": "y"}},
        {"metadata.ip_address": "x", "metadata.location": {}},
    )


async def test_what_is_sealed_opens_under_its_key_and_id_alone(sink):
    keys = await sink.keyring.provide([3, 4])
    sealed, digest = personal.seal(FIELDS, "e1", keys[3], sink.cipher)
    assert sealed["fields"] == sorted(FIELDS)
    assert "203" not in json.dumps(sealed)
    assert len(digest) == 64
    content = {"event_id": "e1", "user_id": 3, "metadata": {"a": 1}, "personal": sealed}
    shown = personal.unseal(content, keys, sink.cipher)
    assert shown["metadata"] == {
        "a": 1,
        "ip_address": "203.0.113.7",
        "location": {"lat": 52.5, "lon": 13.4},
    }
    assert not {"personal", "erased", "schema"} & shown.keys()
    moved = personal.unseal({**content, "event_id": "e2"}, keys, sink.cipher)
    stolen = personal.unseal({**content, "user_id": 4}, keys, sink.cipher)
    gone = personal.unseal(content, {}, sink.cipher)
    cut = {**sealed, "ciphertext": sealed["ciphertext"][:8]}
    broken = personal.unseal({**content, "personal": cut}, keys, sink.cipher)
    for unread in (moved, stolen, gone, broken):
        assert unread["erased"] == sorted(FIELDS)
        assert unread["metadata"] == {"a": 1}


async def test_the_same_is_never_encrypted_twice_alike_and_has_one_digest(sink):
    keys = await sink.keyring.provide([3, 4])
    first, digest = personal.seal(FIELDS, "e1", keys[3], sink.cipher)
    second, again = personal.seal(dict(reversed(FIELDS.items())), "e1", keys[3], sink.cipher)
    assert first["ciphertext"] != second["ciphertext"]
    assert digest == again
    assert personal.seal(FIELDS, "e1", keys[4], sink.cipher)[1] != digest


async def test_a_key_is_made_once_and_unwrapped_once(sink):
    first = await sink.keyring.provide([3])
    assert await sink.keyring.provide([3]) == first
    assert (sink.wrapping.made, sink.wrapping.unwrapped) == (1, [])
    other = Keyring(sink.keys, sink.wrapping)
    assert await other.provide([3]) == first
    assert await other.find([3, 99]) == first
    assert (sink.wrapping.made, sink.wrapping.unwrapped) == (1, [3])


async def test_the_table_is_asked_every_time(sink):
    await sink.keyring.provide([3])
    assert await sink.keyring.find([3])
    await sink.keys.delete(3)
    assert await sink.keyring.find([3]) == {}
    assert sink.keys.finds == [[3]] * 3
    assert await sink.keyring.find([]) == {}
    assert len(sink.keys.finds) == 3


async def test_of_two_that_make_a_key_the_first_wins(sink):
    plain = b"r" * 32
    sink.keys.rival = SubjectKey(3, "rival", MemoryWrapping.wrap(3, plain))
    keys = await sink.keyring.provide([3])
    assert keys[3] == personal.DataKey("rival", plain)


async def test_without_kms_nothing_that_is_cached_is_lost(sink):
    keys = await sink.keyring.provide([3])
    sink.wrapping.available = False
    assert await sink.keyring.find([3]) == keys
    with pytest.raises(KeyUnavailableError):
        await sink.keyring.provide([4])


async def test_plain_keys_are_kept_for_a_bounded_number_of_persons(sink, monkeypatch):
    monkeypatch.setattr(personal, "_MAX_PLAIN_KEYS", 2)
    await sink.keyring.provide([1])
    await sink.keyring.provide([2])
    await sink.keyring.provide([3])
    await sink.keyring.find([1, 2, 3])
    assert 1 in sink.wrapping.unwrapped


async def test_an_erasure_holds_for_what_is_there_and_not_for_what_comes(sink):
    for event_id in ("before", "after"):
        body = event_body(event_id=event_id, user_id=3, metadata={"ip_address": event_id})
        assert (await sink.post(body)).status_code == 201
        if event_id == "before":
            await sink.keys.delete(3)
    before, after = await sink.opener.open_records(
        [sink.writer.entries[event_id].record for event_id in ("before", "after")]
    )
    assert (before["metadata"], before["erased"]) == ({}, ["metadata.ip_address"])
    assert after["metadata"] == {"ip_address": "after"}
    assert "erased" not in after


async def test_an_event_that_is_sent_again_after_an_erasure_is_another(sink):
    body = event_body(event_id="e1", user_id=3, metadata={"ip_address": "203.0.113.7"})
    assert (await sink.post(body)).status_code == 201
    assert (await sink.post(body)).status_code == 200
    await sink.keys.delete(3)
    assert (await sink.post(body)).json()["code"] == "event_id_conflict"
    assert (await sink.post({**body, "event_id": "e2"})).status_code == 201


async def test_records_are_opened_with_one_look_for_keys(sink):
    for user_id in (3, 4, 3):
        await sink.post(event_body(user_id=user_id, metadata={"ip_address": "203.0.113.7"}))
    await sink.post(event_body(user_id=5))
    sink.keys.finds.clear()
    contents = await sink.opener.open_records(
        [entry.record for entry in sink.writer.entries.values()]
    )
    assert [content["user_id"] for content in contents] == [3, 4, 3, 5]
    assert sink.keys.finds == [[3, 4]]
