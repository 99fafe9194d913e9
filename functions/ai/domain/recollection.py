"""Whether a session's prompts begin with a summary, and with which."""

from __future__ import annotations

from functions.ai.domain.models import Session
from functions.ai.domain.policies import Policies
from functions.ai.domain.summaries import NO_RECALL, Recall
from functions.ai.domain.summary_ports import SummaryStore


class Recollection:
    """Summaries as the policies of their projects want them."""

    def __init__(self, store: SummaryStore, policies: Policies) -> None:
        self._store = store
        self._policies = policies

    async def of(self, session: Session, before: int) -> Recall:
        """What the prompt of the question at the sequence `before` begins with."""
        if (await self._policies.of(session.project_id)).summaries is None:
            return NO_RECALL
        summary = await self._store.summary(session.session_id)
        if summary is not None and summary.up_to >= before:
            # The question is tried again after later ones were answered.
            summary = None
        return Recall(wanted=True, summary=summary)
