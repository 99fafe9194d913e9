"""The audit sink's ports in memory, and its apps over them, called as API Gateway calls them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from functions.audit.adapters.cipher import AesGcm
from functions.audit.domain.dependencies import Control, Ingest, Intake
from functions.audit.domain.erasure import ControlService
from functions.audit.domain.errors import KeyUnavailableError
from functions.audit.domain.ingest import IngestService
from functions.audit.domain.masking import KINDS, Masking
from functions.audit.domain.models import Appended, Entry, SubjectKey
from functions.audit.domain.personal import Keyring, RecordOpener
from functions.audit.routes import control, ingest
from tests.fakes.ai_app import REQUEST_CONTEXT, Clock, as_event

CALLER = "arn:aws:sts::000000000000:assumed-role/caller"


class MemoryRecordWriter:
    """`ports.RecordWriter`; `failures` by event id stand for what the store refuses."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.calls: list[list[str]] = []
        self.failures: dict[str, Exception] = {}
        self.failure: Exception | None = None

    async def append(self, entries: Sequence[Entry]) -> list[Appended | Exception]:
        self.calls.append([entry.event_id for entry in entries])
        assert len(set(self.calls[-1])) == len(entries)
        if self.failure is not None:
            raise self.failure
        return [self._append(entry) for entry in entries]

    def _append(self, entry: Entry) -> Appended | Exception:
        failure = self.failures.get(entry.event_id)
        if failure is not None:
            return failure
        stored = self.entries.setdefault(entry.event_id, entry)
        return Appended(stored, stored is entry)

    async def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def record(self, event_id: str) -> dict[str, Any]:
        """The stored record, parsed."""
        content: dict[str, Any] = json.loads(self.entries[event_id].record)
        return content


class MemorySubjectKeys:
    """`ports.SubjectKeys`."""

    def __init__(self) -> None:
        self.keys: dict[int, SubjectKey] = {}
        self.finds: list[list[int]] = []
        self.rival: SubjectKey | None = None

    async def find(self, user_ids: Sequence[int]) -> dict[int, SubjectKey]:
        self.finds.append(list(user_ids))
        return {user_id: self.keys[user_id] for user_id in user_ids if user_id in self.keys}

    async def create(self, key: SubjectKey) -> SubjectKey:
        if self.rival is not None:
            self.keys.setdefault(key.user_id, self.rival)
        return self.keys.setdefault(key.user_id, key)

    async def delete(self, user_id: int) -> bool:
        return self.keys.pop(user_id, None) is not None


class MemoryWrapping:
    """`ports.KeyWrapping`: a wrapped key is the plain one, turned around and named."""

    def __init__(self) -> None:
        self.made = 0
        self.unwrapped: list[int] = []
        self.available = True

    async def generate(self, user_id: int) -> tuple[bytes, bytes]:
        self._require()
        self.made += 1
        plain = self.made.to_bytes(32, "big")
        return plain, self.wrap(user_id, plain)

    async def unwrap(self, key: SubjectKey) -> bytes:
        self._require()
        self.unwrapped.append(key.user_id)
        name, _, turned = key.wrapped.partition(b":")
        assert name == str(key.user_id).encode()
        return turned[::-1]

    @staticmethod
    def wrap(user_id: int, plain: bytes) -> bytes:
        return str(user_id).encode() + b":" + plain[::-1]

    def _require(self) -> None:
        if not self.available:
            raise KeyUnavailableError


@dataclass
class MemoryIntakeQueue:
    """`ports.IntakeQueue`."""

    sent: list[tuple[Mapping[str, object], str]] = field(default_factory=list)
    failure: Exception | None = None

    async def send(self, event: Mapping[str, object], reported_by: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.sent.append((event, reported_by))


@dataclass
class MemorySealNow:
    """`ports.SealNow`."""

    answer: Mapping[str, object] = field(default_factory=lambda: {"sealed": 0, "checkpoint": None})
    calls: int = 0

    async def seal(self) -> Mapping[str, object]:
        self.calls += 1
        return self.answer


class AuditSink:
    """The ingest, intake and control functions over the same storage."""

    def __init__(self, kinds: frozenset[str] = KINDS) -> None:
        self.writer = MemoryRecordWriter()
        self.keys = MemorySubjectKeys()
        self.wrapping = MemoryWrapping()
        self.queue = MemoryIntakeQueue()
        self.sealer = MemorySealNow()
        self.clock = Clock()
        self.cipher = AesGcm()
        self.keyring = Keyring(self.keys, self.wrapping)
        self.opener = RecordOpener(self.keyring, self.cipher)
        self.service = IngestService(
            self.writer, self.keyring, self.cipher, Masking(kinds), self.clock
        )
        self.intake = Intake(self.service)
        self.ingest_app = ingest.create_app(Ingest(self.service))
        self.control_app = control.create_app(
            Control(ControlService(self.keys, self.sealer, self.queue, self.clock))
        )

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        context: dict[str, Any] | None = REQUEST_CONTEXT,
        content: bytes | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Calls the function that serves the path."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("content-type", "application/json")
        app: Any = self.ingest_app if path.startswith("/api/v1/events") else self.control_app
        if context is not None:
            app = as_event(app, context)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content, headers=sent)

    async def post(self, body: Any, path: str = "", **headers: str) -> httpx.Response:
        """Records events."""
        return await self.call("POST", f"/api/v1/events{path}", body, **headers)

    @staticmethod
    def message(event: Mapping[str, object], reported_by: str) -> str:
        """A message of the intake queue, as the control function sends it."""
        return json.dumps({"event": event, "reported_by": reported_by})

    async def opened(self, event_id: str) -> dict[str, Any]:
        """A stored event as readers see it."""
        [content] = await self.opener.open([self.writer.entries[event_id].record])
        return content


def event_body(**fields: Any) -> dict[str, Any]:
    """An AuditEventCreate."""
    return {"event_type": "t", "resource": "r/1", "action": "a", "metadata": {}, **fields}


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    """The answer is this problem."""
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
