"""The browser pool's parts for tests: links with names, a worker with a script."""

from datetime import UTC, datetime, timedelta

from contracts.browser.worker import Egress, WorkerCommand, WorkerReply
from functions.browser.domain.dispatch import Dispatcher
from functions.browser.domain.leases import Leases
from functions.browser.domain.sessions import Limits, Reaper, Sessions
from servicekit.audit import AuditTrail
from servicekit.idempotency import Idempotency, RecordStore
from tests.fakes.memory import MemoryOutbox

START = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
LIMITS = Limits(
    pool=4,
    per_project=3,
    per_user=2,
    idle=timedelta(seconds=300),
    age=timedelta(seconds=1000),
)


class PoolClock:
    """Shows what it is set to; whoever sleeps moves it on."""

    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


def reply(**changes) -> WorkerReply:
    """What a browser function says when all went well."""
    result = {
        "session_id": "s",
        "continuity": "live",
        "lost": [],
        "results": [],
        "pages": [{"page_id": "p1", "url": "https://example.com/", "title": "Example"}],
        "denied": [],
    }
    said = {"env_id": "env-1", "refused": False, "checkpoint_stored": True}
    for name, value in changes.items():
        (said if name in said else result)[name] = value
    return WorkerReply.model_validate({**said, "result": result})


class ScriptedWorker:
    """`dispatch.Worker`: says or raises one of `script` after another, then goes on as well."""

    def __init__(self, *script: WorkerReply | Exception) -> None:
        self.script = list(script)
        self.commands: list[WorkerCommand] = []

    async def run(self, command: WorkerCommand) -> WorkerReply:
        self.commands.append(command)
        said = self.script.pop(0) if self.script else reply()
        if isinstance(said, Exception):
            raise said
        return said


class NamedObjects:
    """`dispatch.Objects`: links that say what they are for, or `failure`."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.forgotten: list[str] = []

    async def checkpoint_reading(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        return f"get {epoch}"

    async def checkpoint_writing(self, session_id: str, epoch: int, lasts: timedelta) -> str:
        if self.failure is not None:
            raise self.failure
        return f"put {epoch}"

    async def forget(self, session_id: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.forgotten.append(session_id)

    async def file_reading(self, session_id: str, name: str) -> str:
        return f"get {name}"

    async def file_writing(self, session_id: str, name: str, lasts: timedelta) -> str:
        return f"put {name}"


class Pool:
    """Everything that works on one table of sessions."""

    def __init__(self, store, records: RecordStore, clock: PoolClock) -> None:
        self.store = store
        self.clock = clock
        self.outbox = MemoryOutbox()
        self.worker = ScriptedWorker()
        self.objects = NamedObjects()
        trail = AuditTrail(self.outbox, clock)
        idempotency = Idempotency(records, clock, 86_400)
        self.sessions = Sessions(store, idempotency, trail, self.objects, LIMITS, clock)
        self.leases = Leases(store, LIMITS, clock, clock.sleep)
        self.reaper = Reaper(store, self.objects, LIMITS, clock)
        self.dispatcher = Dispatcher(
            self.sessions, self.leases, self.worker, self.objects, trail, Egress()
        )
