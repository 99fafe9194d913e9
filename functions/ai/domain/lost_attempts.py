"""What an attempt cost whose process is gone: nobody told it, so it is estimated."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from functions.ai.domain.billing import MAX_CALLS, Billing, Call
from functions.ai.domain.budgets import Reservation, Spender
from functions.ai.domain.catalogue import Catalogue
from functions.ai.domain.errors import (
    ContextTooLongError,
    SessionNotFoundError,
    UnknownModelError,
    UnknownProviderError,
)
from functions.ai.domain.history import History
from functions.ai.domain.ports import SessionStore
from functions.ai.domain.turns import Bill, Numbered, RestartEvent, TextEvent, Turn
from functions.ai.domain.work import Work

_logger = logging.getLogger(__name__)


class LostAttempts:
    """Knows of such an attempt what its stored events tell: which models had said how much. A model
    that had said nothing yet counts as not billed, as it does where a call fails.
    """

    def __init__(self, sessions: SessionStore, catalogue: Catalogue, billing: Billing) -> None:
        self._sessions = sessions
        self._catalogue = catalogue
        self._billing = billing

    async def bill(self, turn: Turn, events: Sequence[Numbered]) -> Bill:
        """The bill to end the attempt with, of all its stored events.

        What the process had reserved is not given back by it: that expires.
        """
        spoken = _spoken(turn, events)
        if not spoken:
            return Bill()
        try:
            calls = [await self._call(turn, *one) for one in spoken]
        except (
            ContextTooLongError,
            SessionNotFoundError,
            UnknownModelError,
            UnknownProviderError,
        ) as error:
            # A model that was withdrawn since, say.
            _logger.warning(
                "lost attempt not billed",
                extra={"turn_id": turn.turn_id, "error_code": error.code},
            )
            return Bill()
        number = turn.attempt * MAX_CALLS
        spender = Spender(turn.turn_id, number, turn.project_id, turn.user_id)
        return await self._billing.bill(turn, Reservation(spender, turn.updated_at), calls, None)

    async def _call(self, turn: Turn, provider: str, name: str, said: int) -> Call:
        model = self._catalogue.find(provider, name)
        session = await self._sessions.get(turn.session_id)
        if session is None:
            raise SessionNotFoundError
        history = History(self._sessions, session, model.context_window)
        await history.read(turn.question)
        asked = Work(turn, model, history.messages).prompt(model)
        return Call(model, asked.prompt, turn.updated_at, said=said)


def _spoken(turn: Turn, events: Sequence[Numbered]) -> list[tuple[str, str, int]]:
    """Provider, model and characters of each that said anything, in their order."""
    spoken = [(turn.provider, turn.model, 0)]
    for numbered in events:
        match numbered.event:
            case TextEvent(text):
                provider, model, said = spoken[-1]
                spoken[-1] = (provider, model, said + len(text))
            case RestartEvent(provider, model):
                spoken.append((provider, model, 0))
    return [one for one in spoken if one[2]]
