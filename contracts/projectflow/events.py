"""ProjectFlow's events: people, projects and cards."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from contracts.base import UtcDatetime, WireCount, WireId
from contracts.event import EventPayload, EventType

Changed = Annotated[
    list[str],
    Field(description="Names of the fields that changed.", examples=[["full_name"]]),
]
Actor = Annotated[WireId | None, Field(description="Who did it, if a person did.")]


class UserCreated(EventPayload):
    """A person registered."""

    EVENT_TYPE: ClassVar[str] = "user.created"

    user_id: WireId
    email: str | None = None
    username: str | None = None
    full_name: str | None = None
    is_active: bool = True
    is_superuser: bool = False
    created_at: UtcDatetime


class UserUpdated(EventPayload):
    """A person's account changed: those of its fields are told that changed."""

    EVENT_TYPE: ClassVar[str] = "user.updated"

    user_id: WireId
    changed: Annotated[Changed, Field(default_factory=list)]
    email: str | None = None
    username: str | None = None
    full_name: str | None = None
    is_active: bool | None = None
    is_superuser: bool | None = None
    updated_by: Actor = None
    updated_at: UtcDatetime


class UserDeleted(EventPayload):
    """A person's account was removed: whoever keeps data of the person removes them too."""

    EVENT_TYPE: ClassVar[str] = "user.deleted"

    user_id: WireId
    deleted_by: Actor = None
    deleted_at: UtcDatetime


class ProjectCreated(EventPayload):
    """A project was made."""

    EVENT_TYPE: ClassVar[str] = "project.created"

    project_id: WireId
    name: str | None = None
    owner_id: WireId
    github_repo_name: str | None = None
    created_at: UtcDatetime


class ProjectArchived(EventPayload):
    """A project was closed: it is read, and not worked on."""

    EVENT_TYPE: ClassVar[str] = "project.archived"

    project_id: WireId
    archived_by: Actor = None
    archived_at: UtcDatetime


class CardCreated(EventPayload):
    """A card was put on a board."""

    EVENT_TYPE: ClassVar[str] = "card.created"

    card_id: WireId
    project_id: WireId
    board_id: WireId | None = None
    column_id: WireId
    position: WireCount = 0
    priority: str = "medium"
    assignee_id: WireId | None = None
    created_by: Actor = None
    created_at: UtcDatetime


class CardMoved(EventPayload):
    """A card changed its place."""

    EVENT_TYPE: ClassVar[str] = "card.moved"

    card_id: WireId
    project_id: WireId
    board_id: WireId | None = None
    from_column_id: WireId
    to_column_id: WireId
    from_position: WireCount | None = None
    to_position: WireCount
    moved_by: Actor = None
    moved_at: UtcDatetime


_TIME = "2026-01-05T09:30:00.218000Z"
_CARD: dict[str, Any] = {"card_id": 42, "project_id": 7, "board_id": 2}

EVENTS = (
    EventType(
        UserCreated,
        {
            "user_id": 3,
            "email": "jane@example.com",
            "username": "jane",
            "full_name": "Jane Doe",
            "is_active": True,
            "is_superuser": False,
            "created_at": _TIME,
        },
    ),
    EventType(
        UserUpdated,
        {
            "user_id": 3,
            "changed": ["is_active"],
            "email": None,
            "username": None,
            "full_name": None,
            "is_active": False,
            "is_superuser": None,
            "updated_by": 1,
            "updated_at": _TIME,
        },
    ),
    EventType(UserDeleted, {"user_id": 3, "deleted_by": 1, "deleted_at": _TIME}),
    EventType(
        ProjectCreated,
        {
            "project_id": 7,
            "name": "Website",
            "owner_id": 3,
            "github_repo_name": "example/website",
            "created_at": _TIME,
        },
    ),
    EventType(ProjectArchived, {"project_id": 7, "archived_by": 3, "archived_at": _TIME}),
    EventType(
        CardCreated,
        {
            **_CARD,
            "column_id": 5,
            "position": 0,
            "priority": "medium",
            "assignee_id": 3,
            "created_by": 3,
            "created_at": _TIME,
        },
    ),
    EventType(
        CardMoved,
        {
            **_CARD,
            "from_column_id": 5,
            "to_column_id": 6,
            "from_position": 0,
            "to_position": 2,
            "moved_by": 3,
            "moved_at": _TIME,
        },
    ),
)
