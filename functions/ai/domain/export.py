"""All that the service keeps of one user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date

from functions.ai.domain.audit import Action, Operations, Subject
from functions.ai.domain.models import Message, Session, SessionFilter
from functions.ai.domain.money_ports import UsageStore
from functions.ai.domain.ports import SessionStore
from functions.ai.domain.summaries import Summary
from functions.ai.domain.summary_ports import SummaryStore
from functions.ai.domain.usage import Aggregate, UsageFilter

_PAGE = 100
_BEGINNING = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """Nothing is missing: so many of each came before it."""

    sessions: int
    messages: int
    summaries: int
    usage: int


ExportItem = Session | Message | Summary | Aggregate | ExportEnd


class UserExport:
    """Reads what there is of a user, without holding it."""

    def __init__(
        self,
        sessions: SessionStore,
        summaries: SummaryStore,
        usage: UsageStore,
        operations: Operations,
    ) -> None:
        self._sessions = sessions
        self._summaries = summaries
        self._usage = usage
        self._operations = operations

    async def start(self, user_id: int, today: date) -> AsyncIterator[ExportItem]:
        """Records it, then tells of it: each session, newest first, with its messages behind it,
        oldest first, and its summary, if there is one; the user's usage by day; the end. Raises
        `AuditUnavailableError`.
        """
        await self._operations.allow(Action.EXPORT_USER, Subject.user(user_id))
        return self._items(user_id, today)

    async def _items(self, user_id: int, today: date) -> AsyncIterator[ExportItem]:
        sessions = messages = summaries = usage = 0
        position: str | None = None
        while True:
            page = await self._sessions.list_sessions(SessionFilter(None, user_id), _PAGE, position)
            for session in page.sessions:
                sessions += 1
                yield session
                async for message in self._sessions.messages(session, page_size=_PAGE):
                    messages += 1
                    yield message
                if summary := await self._summaries.summary(session.session_id):
                    summaries += 1
                    yield summary
            position = page.next_position
            if position is None:
                break
        wanted = UsageFilter(None, user_id, _BEGINNING, today)
        async for aggregate in self._usage.aggregates(wanted):
            usage += 1
            yield aggregate
        yield ExportEnd(sessions, messages, summaries, usage)
