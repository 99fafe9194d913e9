"""The operations of AI v1: the source of its OpenAPI document and of its API's routes."""

from __future__ import annotations

from typing import Any, get_args

from contracts.ai import examples, export, jobs, money, routing, turns, v1
from contracts.base import MAX_ID
from contracts.health_operations import health_operations
from contracts.operation import (
    EVENT_STREAM_MEDIA_TYPE,
    NDJSON_MEDIA_TYPE,
    Answer,
    Contract,
    Operation,
    Parameter,
)
from contracts.problem import PROBLEM_MEDIA_TYPE

_ID: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAX_ID}

_SESSION_ID = Parameter(
    name="session_id",
    schema={"type": "string", "minLength": 1, "maxLength": v1.MAX_SESSION_ID_LENGTH},
    description="The session's UUID.",
    required=True,
)
_TURN_ID = Parameter(
    name="turn_id",
    schema={"type": "string", "minLength": 1, "maxLength": turns.MAX_TURN_ID_LENGTH},
    description="The turn's UUID: `turn_id` of a ChatResponse, `X-Turn-Id` of a stream.",
    required=True,
)
_JOB_ID = Parameter(
    name="job_id",
    schema={"type": "string", "minLength": 1, "maxLength": turns.MAX_TURN_ID_LENGTH},
    description="`job_id` of a JobQueued.",
    required=True,
)
_PROTOCOL = Parameter(
    name="protocol",
    schema={"type": "string", "enum": list(get_args(turns.Protocol))},
    description="How the stream tells it: v1 as StreamingChatChunks, events as TurnEvents. "
    "`Accept: text/event-stream; protocol=...` says the same.",
)
_LAST_EVENT_ID = Parameter(
    name="last_event_id",
    schema={"type": "integer", "minimum": 0, "maximum": turns.MAX_EVENT_ID},
    description="Events behind this one; the header `Last-Event-ID` says the same and wins. "
    "Without either: the events of the turn's present attempt.",
)
_SCOPE = Parameter(
    name="scope",
    schema={
        "type": "string",
        "pattern": money.SCOPE_PATTERN,
        "maxLength": money.MAX_SCOPE_LENGTH,
    },
    description="`project-7`, `user-3`, or the user within the project: `project-7-user-3`.",
    required=True,
)
_ROUTING_SCOPE = Parameter(
    name="scope",
    schema={
        "type": "string",
        "pattern": routing.ROUTING_SCOPE_PATTERN,
        "maxLength": money.MAX_SCOPE_LENGTH,
    },
    description="`project-7`, or `default`: the deployment's.",
    required=True,
)
_PROJECT_SCOPE = Parameter(
    name="scope",
    schema={
        "type": "string",
        "pattern": routing.PROJECT_SCOPE_PATTERN,
        "maxLength": money.MAX_SCOPE_LENGTH,
    },
    description="`project-7`; the deployment's is a setting.",
    required=True,
)
_DATE: dict[str, Any] = {"type": "string", "format": "date"}
_PAGE = (
    Parameter(
        name="limit",
        schema={
            "type": "integer",
            "minimum": 1,
            "maximum": v1.MAX_PAGE_LIMIT,
            "default": v1.DEFAULT_PAGE_LIMIT,
        },
        description="Most items of the page; it may hold fewer, or none, while `has_more` is true.",
    ),
    Parameter(
        name="cursor",
        schema={"type": "string", "minLength": 1, "maxLength": v1.MAX_CURSOR_LENGTH},
        description="`next_cursor` of the page before; opaque, and 400 if it is not one of those.",
    ),
)

# 400: malformed JSON, cursor or header. 403, 429 and 504 come from the gateway as well.
_ANY = (400, 401, 403, 429, 500, 503, 504)
_BODY = (413, 415, 422)
_KEYED = (409,)
_MODEL_CALL = (404, 502)

# Of every call to a model.
_EXHAUSTED = Answer(
    model=money.BudgetProblem,
    status=402,
    description="A budget has no room for what the call may cost; which, and when it renews.",
    example=examples.BUDGET_PROBLEM,
    media_type=PROBLEM_MEDIA_TYPE,
)

_STREAM = """\
Server-sent events. Each `data:` line is a StreamingChatChunk; the last of them is finished, has an
empty `chunk` and the stored answer's `message_id`; then comes `data: [DONE]`. A failure after the
first byte is a finished chunk with `error`, then `[DONE]`; the user's message and what came of the
answer are kept, and the session stays usable. Clients ignore comments and `id:` and `event:` lines.

    data: {"session_id": "0199f3a2-...", "chunk": "Hi", "finished": false, "message_id": null}

    data: {"session_id": "0199f3a2-...", "chunk": "", "finished": true, "message_id": 1003}

    data: [DONE]

The answer's header `X-Turn-Id` names the turn; each chunk has its `id:`. A stream that broke off is
taken up with GET /turns/{turn_id}/events?protocol=v1 and that id as `Last-Event-ID`. After 10 s
without news a comment is sent. With `?protocol=events` the stream is one of TurnEvents.
"""

_EVENTS = """\
Server-sent events, from the state `start` over `text` and `restart` to `end`: each has its sequence
as `id:`, its type as `event:` and a TurnEvent as `data:`. A turn that runs is followed live. Events
are kept for a day; later the answer comes as one. After 10 s without news a comment is sent.

    id: 0
    event: start
    data: {"sequence": 0, "type": "start", "turn": {...}}

    id: 1
    event: text
    data: {"sequence": 1, "type": "text", "text": "Hi"}

    id: 2
    event: end
    data: {"sequence": 2, "type": "end", "turn": {...}}
"""


def _errors(*groups: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({status for group in groups for status in group}))


OPERATIONS: tuple[Operation, ...] = (
    *health_operations("ai-service"),
    Operation(
        operation_id="list_providers",
        method="get",
        path="/api/v1/providers",
        summary="List the providers",
        tag="catalog",
        answer=Answer(
            model=v1.Provider,
            is_list=True,
            description="All providers.",
            example=[examples.PROVIDER],
        ),
        errors=_ANY,
    ),
    Operation(
        operation_id="list_models",
        method="get",
        path="/api/v1/models",
        summary="List the models, of one provider or all",
        tag="catalog",
        query=(
            Parameter(name="provider_id", schema=_ID, description="Only this provider's models."),
        ),
        answer=Answer(
            model=v1.Model, is_list=True, description="The models.", example=[examples.MODEL]
        ),
        errors=_errors(_ANY, (422,)),
    ),
    Operation(
        operation_id="create_session",
        method="post",
        path="/api/v1/sessions",
        summary="Start a session; calls no model",
        tag="sessions",
        query=(
            Parameter(
                name="user_id", schema=_ID, description="Whose session it is.", required=True
            ),
        ),
        body=v1.SessionCreate,
        body_example=examples.SESSION_CREATE,
        answer=Answer(model=v1.Session, description="The session.", example=examples.SESSION),
        errors=_errors(_ANY, _BODY, _KEYED),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="list_sessions",
        method="get",
        path="/api/v1/sessions",
        summary="List a project's or a user's sessions, newest first",
        tag="sessions",
        description="At least one of project_id and user_id is required; both narrow the list.",
        query=(
            Parameter(name="project_id", schema=_ID, description="Only this project's sessions."),
            Parameter(name="user_id", schema=_ID, description="Only this user's sessions."),
            *_PAGE,
        ),
        answer=Answer(model=v1.SessionPage, description="One page.", example=examples.SESSION_PAGE),
        errors=_errors(_ANY, (422,)),
    ),
    Operation(
        operation_id="get_session",
        method="get",
        path="/api/v1/sessions/{session_id}",
        summary="Read a session with its messages",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        answer=Answer(model=v1.Session, description="The session.", example=examples.SESSION),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="update_session",
        method="patch",
        path="/api/v1/sessions/{session_id}",
        summary="Change a session's status, context or card",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        body=v1.SessionUpdate,
        body_example=examples.SESSION_UPDATE,
        answer=Answer(model=v1.Session, description="The session.", example=examples.SESSION),
        errors=_errors(_ANY, _BODY, (404,)),
    ),
    Operation(
        operation_id="delete_session",
        method="delete",
        path="/api/v1/sessions/{session_id}",
        summary="Delete a session and its messages",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        answer=Answer(
            model=v1.SessionDeleted, description="Deleted.", example=examples.SESSION_DELETED
        ),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="list_messages",
        method="get",
        path="/api/v1/sessions/{session_id}/messages",
        summary="List a session's messages, oldest first",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        query=_PAGE,
        answer=Answer(model=v1.MessagePage, description="One page.", example=examples.MESSAGE_PAGE),
        errors=_errors(_ANY, (404, 422)),
    ),
    Operation(
        operation_id="add_message",
        method="post",
        path="/api/v1/sessions/{session_id}/messages",
        summary="Add a message to a session; calls no model",
        tag="sessions",
        path_parameters=(_SESSION_ID,),
        body=v1.MessageCreate,
        body_example=examples.MESSAGE_CREATE,
        answer=Answer(model=v1.Message, description="The message.", example=examples.USER_MESSAGE),
        errors=_errors(_ANY, _BODY, _KEYED, (404,)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="chat",
        method="post",
        path="/api/v1/chat",
        summary="Send a message and wait for the whole answer",
        tag="chat",
        description="`stream` must be false; true or omitted is a 400 that names /chat/stream.",
        body=v1.ChatRequest,
        body_example=examples.CHAT_REQUEST,
        answer=Answer(
            model=v1.ChatResponse, description="The answer.", example=examples.CHAT_RESPONSE
        ),
        also=(_EXHAUSTED,),
        errors=_errors(_ANY, _BODY, _KEYED, _MODEL_CALL),
        delivery="streamed",
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="chat_stream",
        method="post",
        path="/api/v1/chat/stream",
        summary="Send a message and get the answer as the model writes it",
        tag="chat",
        body=v1.ChatRequest,
        body_example=examples.CHAT_STREAM_REQUEST,
        answer=Answer(
            model=v1.StreamingChatChunk,
            description=_STREAM,
            example=examples.LAST_CHUNK,
            media_type=EVENT_STREAM_MEDIA_TYPE,
        ),
        query=(_PROTOCOL,),
        also=(_EXHAUSTED,),
        errors=_errors(_ANY, _BODY, _KEYED, _MODEL_CALL),
        delivery="streamed",
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="get_turn",
        method="get",
        path="/api/v1/turns/{turn_id}",
        summary="Read what became of a turn",
        tag="turns",
        path_parameters=(_TURN_ID,),
        answer=Answer(model=turns.Turn, description="The turn.", example=examples.TURN),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="follow_turn",
        method="get",
        path="/api/v1/turns/{turn_id}/events",
        summary="Follow a turn from any place, while it runs or afterwards",
        tag="turns",
        path_parameters=(_TURN_ID,),
        query=(_PROTOCOL, _LAST_EVENT_ID),
        answer=Answer(
            model=turns.TurnEvent,
            description=_EVENTS,
            example=examples.END_EVENT,
            media_type=EVENT_STREAM_MEDIA_TYPE,
        ),
        errors=_errors(_ANY, (404, 422)),
        delivery="streamed",
    ),
    Operation(
        operation_id="cancel_turn",
        method="post",
        path="/api/v1/turns/{turn_id}/cancel",
        summary="Ask a turn to stop; it does so within a second and keeps what was said",
        tag="turns",
        description="One that has ended stays as it is. Repeating it changes nothing.",
        path_parameters=(_TURN_ID,),
        answer=Answer(
            model=turns.Turn,
            description="The turn: `cancelling` until it has stopped.",
            example=examples.CANCELLING_TURN,
        ),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="create_job",
        method="post",
        path="/api/v1/jobs",
        summary="Send a message that a worker has answered; nobody waits for it",
        tag="jobs",
        description="The job takes its place in the session at once: a second message is a 409 "
        "`turn_in_progress` until it has ended. `/turns/{job_id}` reads, follows and cancels it.",
        body=jobs.JobCreate,
        body_example=examples.JOB_CREATE,
        answer=Answer(
            model=jobs.JobQueued,
            status=202,
            description="It will be run.",
            example=examples.JOB_QUEUED,
        ),
        errors=_errors(_ANY, _BODY, _KEYED, (404,)),
        idempotent_by_key=True,
    ),
    Operation(
        operation_id="get_job",
        method="get",
        path="/api/v1/jobs/{job_id}",
        summary="Read what became of a job",
        tag="jobs",
        path_parameters=(_JOB_ID,),
        answer=Answer(model=jobs.Job, description="The job.", example=examples.JOB),
        errors=_errors(_ANY, (404,)),
    ),
    Operation(
        operation_id="export_user",
        method="get",
        path="/api/v1/users/{user_id}/export",
        summary="Export all that is kept of a user",
        tag="privacy",
        path_parameters=(
            Parameter(name="user_id", schema=_ID, description="Whose data.", required=True),
        ),
        answer=Answer(
            model=export.ExportLine,
            description="Newline-delimited JSON: each session with its messages behind it, the "
            "user's usage by day, and a last line of type `end`, without which it is not whole.",
            example=examples.EXPORT_END,
            media_type=NDJSON_MEDIA_TYPE,
        ),
        errors=_errors(_ANY, (422,)),
        delivery="streamed",
    ),
    Operation(
        operation_id="get_usage",
        method="get",
        path="/api/v1/usage",
        summary="Sum up what a project or a user used, and what it cost",
        tag="money",
        description=(
            "At least one of project_id and user_id is required; both narrow the report. Without "
            f"dates it is of this month so far; a report has at most {money.MAX_USAGE_DAYS} days."
        ),
        query=(
            Parameter(name="project_id", schema=_ID, description="Only this project's usage."),
            Parameter(name="user_id", schema=_ID, description="Only this user's usage."),
            Parameter(
                name="from",
                schema=_DATE,
                description="The first day, UTC; the first of the last day's month if absent.",
            ),
            Parameter(name="to", schema=_DATE, description="The last day; today if absent."),
            Parameter(
                name="group_by",
                schema={
                    "type": "string",
                    "pattern": money.GROUP_BY_PATTERN,
                    "default": "day,model",
                },
                description="Of day, project, user and model, comma separated.",
            ),
            *_PAGE,
        ),
        answer=Answer(
            model=money.UsageReport, description="One page.", example=examples.USAGE_REPORT
        ),
        errors=_errors(_ANY, (413, 422)),
    ),
    Operation(
        operation_id="get_budget",
        method="get",
        path="/api/v1/budgets/{scope}",
        summary="Read a budget and what is left of it",
        tag="money",
        path_parameters=(_SCOPE,),
        answer=Answer(model=money.Budget, description="The budget.", example=examples.BUDGET),
        errors=_errors(_ANY, (404, 422)),
    ),
    Operation(
        operation_id="set_budget",
        method="put",
        path="/api/v1/budgets/{scope}",
        summary="Set what a project, a user, or a user within a project may spend",
        tag="money",
        description="Both limits are replaced. What was spent before in the periods counts.",
        path_parameters=(_SCOPE,),
        body=money.BudgetSet,
        body_example=examples.BUDGET_SET,
        answer=Answer(model=money.Budget, description="The budget.", example=examples.BUDGET),
        errors=_errors(_ANY, _BODY),
    ),
    Operation(
        operation_id="delete_budget",
        method="delete",
        path="/api/v1/budgets/{scope}",
        summary="Remove a budget",
        tag="money",
        path_parameters=(_SCOPE,),
        answer=Answer(
            model=money.BudgetDeleted, description="Removed.", example=examples.BUDGET_DELETED
        ),
        errors=_errors(_ANY, (404, 422)),
    ),
    Operation(
        operation_id="get_routing",
        method="get",
        path="/api/v1/routing/{scope}",
        summary="Read which models answer, and which stand in for one that fails",
        tag="routing",
        description="404 for a project without a policy of its own: `default` binds it.",
        path_parameters=(_ROUTING_SCOPE,),
        answer=Answer(model=routing.Routing, description="The policy.", example=examples.ROUTING),
        errors=_errors(_ANY, (404, 422)),
    ),
    Operation(
        operation_id="set_routing",
        method="put",
        path="/api/v1/routing/{scope}",
        summary="Set a project's routing policy",
        tag="routing",
        description=(
            "It replaces the deployment's whole. Targets must be in the catalogue and not retired; "
            "those that cannot do what a prompt needs, and those of providers that are not active, "
            "are passed over."
        ),
        path_parameters=(_PROJECT_SCOPE,),
        body=routing.RoutingSet,
        body_example=examples.ROUTING_SET,
        answer=Answer(model=routing.Routing, description="The policy.", example=examples.ROUTING),
        errors=_errors(_ANY, _BODY),
    ),
    Operation(
        operation_id="delete_routing",
        method="delete",
        path="/api/v1/routing/{scope}",
        summary="Leave a project to the deployment's routing policy",
        tag="routing",
        path_parameters=(_PROJECT_SCOPE,),
        answer=Answer(
            model=routing.RoutingDeleted, description="Removed.", example=examples.ROUTING_DELETED
        ),
        errors=_errors(_ANY, (404, 422)),
    ),
)

AI_V1 = Contract(
    service="ai",
    version="v1",
    title="AI service",
    description=(
        "Sessions, messages and chats with models. Internal: every call but GET /health is signed "
        "with SigV4 (service `execute-api`) by a role that the API's resource policy names; "
        "`user_id` and `project_id` are believed because the role is. A request's body has at most "
        f"{v1.MAX_BODY_BYTES} bytes, a prompt or message {v1.MAX_CONTENT_BYTES} bytes of UTF-8."
    ),
    local_url="http://127.0.0.1:8001",
    operations=OPERATIONS,
)
