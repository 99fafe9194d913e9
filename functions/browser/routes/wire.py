"""Sessions and results of steps: the contract's models of the domain's."""

from __future__ import annotations

from contracts.browser import sessions as contract
from functions.browser.domain.artifacts import ListedFile
from functions.browser.domain.sessions import Session


def session(made: Session) -> contract.BrowserSession:
    """A session as callers see it."""
    return contract.BrowserSession(
        session_id=made.session_id,
        created_at=made.created_at,
        last_activity=made.last_activity,
        expires_at=made.due_at,
        page_count=made.page_count,
        metadata=dict(made.metadata),
        continuity=made.continuity,
        user_id=made.user_id,
        project_id=made.project_id,
    )


def artifact(listed: ListedFile) -> contract.StoredArtifact:
    """A file as callers see it."""
    file = listed.file
    return contract.StoredArtifact(
        name=file.name, size=file.size, stored_at=file.stored_at, url=listed.url
    )
