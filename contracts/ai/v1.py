"""AI v1: the bodies that callers of the AI service send and get.

Requests are validated against the limits below; answers are read leniently, so that a client
of today reads the service of tomorrow. Fields may be added, never removed, renamed or retyped.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from contracts.base import (
    UtcDatetime,
    WireId,
    WireInt,
    WireModel,
    is_none,
    json_size,
    too_large,
    utf8_size,
)

MAX_NAME_LENGTH = 256
"""Characters of a provider's or a model's name; the longest Bedrock inference profile ARNs fit."""

MAX_SESSION_ID_LENGTH = 64
"""Characters of a session_id; the service makes UUIDs of 36."""

MAX_CONTENT_BYTES = 200_000
"""UTF-8 bytes of a message, an initial message or a system prompt. A message is one DynamoDB item,
of 400 KB at most, and shares it with its tool data."""

MAX_BODY_BYTES = 2_500_000
"""Bytes of a request's body: two prompts at their limit fit, even with each byte as \\uXXXX. A
function's event, of 6 MB at most, holds it even where every byte is escaped once more."""

MAX_TOOL_DATA_BYTES = 100_000
"""Bytes of a message's tool_calls and tool_results together, as compact JSON."""

MAX_TOOLS = 128
"""Tools of a chat, and results in one message: as many as OpenAI takes."""

MAX_DESCRIPTION_LENGTH = 8_192
"""Characters of a tool's description."""

MAX_CALL_ID_LENGTH = 256
"""Characters of a tool call's id, which is its provider's."""

MAX_IMAGES = 8
"""Images of one message."""

MAX_IMAGE_BYTES = 3_750_000
"""Bytes of an image's file: Bedrock takes 3.75 MB (API reference of Converse, `Message`), the
others more. In a data URL MAX_BODY_BYTES is reached earlier, at about 1.8 MB."""

IMAGE_PATTERN = r"^(data:image/(png|jpeg|gif|webp);base64,|s3://)"
"""How an image begins; the service reads the rest."""

MAX_CONTEXT_BYTES = 32_768
"""Bytes of a session's context as compact JSON: it is read with every listing of sessions."""

MAX_SESSION_MESSAGES = 200
"""Messages that a Session carries at most: its newest. `/messages` pages through all of them."""

MAX_SESSION_ANSWER_BYTES = 5_000_000
"""Bytes of the messages that one answer carries at most, as JSON inside a JSON string: a function
answers with 6 MB at most, and that is how it carries its body."""

MAX_CURSOR_LENGTH = 512
"""Characters of a cursor."""

DEFAULT_PAGE_LIMIT = 50
MAX_PAGE_LIMIT = 100

Role = Literal["user", "assistant", "system"]
SessionStatus = Literal["active", "completed", "failed", "cancelled"]


def _bounded_content(value: str) -> str:
    if utf8_size(value) > MAX_CONTENT_BYTES:
        raise too_large(MAX_CONTENT_BYTES)
    return value


def _bounded_context(value: dict[str, Any]) -> dict[str, Any]:
    if json_size(value) > MAX_CONTEXT_BYTES:
        raise too_large(MAX_CONTEXT_BYTES)
    return value


Content = Annotated[
    str,
    AfterValidator(_bounded_content),
    # The limit counts bytes; a schema can say characters only, which is the looser half of it.
    WithJsonSchema({"type": "string", "maxLength": MAX_CONTENT_BYTES}),
]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
SessionId = Annotated[str, Field(min_length=1, max_length=MAX_SESSION_ID_LENGTH)]
Usd = Annotated[str, Field(description="Decimal US dollars.", examples=["0.000245"])]
Image = Annotated[
    str,
    Field(
        pattern=IMAGE_PATTERN,
        description="`data:image/png;base64,...` (or jpeg, gif, webp), or the reference of an "
        "earlier image of the same project: `s3://<bucket>/projects/<project_id>/...`.",
    ),
]
# One wrong part is enough: a list of half a million would be as many errors.
ToolData = Annotated[list[dict[str, Any]], Field(fail_fast=True)]


class Provider(WireModel):
    """A provider of models."""

    id: WireInt
    name: Annotated[str, Field(examples=["bedrock"])]
    display_name: str
    base_url: str | None = None
    config: dict[str, Any]
    is_active: bool
    is_default: bool
    created_at: UtcDatetime
    updated_at: UtcDatetime | None = None


class Model(WireModel):
    """A model that a session may name. Costs are US dollars per 1000 tokens."""

    id: WireInt
    provider_id: WireInt
    name: Annotated[str, Field(examples=["amazon.nova-lite-v1:0"])]
    display_name: str
    description: str | None = None
    supports_functions: bool
    supports_vision: bool
    max_tokens: Annotated[WireInt | None, Field(description="Most tokens of one answer.")] = None
    context_window: Annotated[WireInt | None, Field(description="Tokens of history.")] = None
    input_cost: Usd | None = None
    output_cost: Usd | None = None
    is_active: bool
    is_default: bool
    created_at: UtcDatetime


class SessionCreate(WireModel):
    """Starts a session. The prompts are stored as its first messages; no model is called.

    An empty initial_message or system_prompt stores no message.
    """

    project_id: WireId
    card_id: WireId | None = None
    provider: Name
    model: Name
    initial_message: Content
    system_prompt: Content | None = None


class SessionUpdate(WireModel):
    """Changes a session; at least one field. `"card_id": null` takes the session off its card."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    status: SessionStatus | None = None
    context: Annotated[
        Annotated[dict[str, Any], AfterValidator(_bounded_context)] | None,
        Field(description=f"Replaces the context; at most {MAX_CONTEXT_BYTES} bytes of JSON."),
    ] = None
    card_id: WireId | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.changes():
            raise PydanticCustomError(
                "nothing_to_change", "At least one of status, context, card_id is required"
            )
        return self

    def changes(self) -> dict[str, Any]:
        """What to write, by field. Of the nulls only that of card_id changes anything."""
        return {
            name: value
            for name in self.model_fields_set
            if (value := getattr(self, name)) is not None or name == "card_id"
        }


class SessionDeleted(WireModel):
    """The session and its messages are gone."""

    message: str


class MessageCreate(WireModel):
    """Adds a message to a session without calling a model."""

    role: Role
    content: Content
    tool_calls: Annotated[
        ToolData | None,
        Field(description=f"With tool_results at most {MAX_TOOL_DATA_BYTES} bytes of JSON."),
    ] = None
    tool_results: ToolData | None = None

    @model_validator(mode="after")
    def _bounded_tool_data(self) -> Self:
        size = sum(json_size(part) for part in (self.tool_calls, self.tool_results) if part)
        if size > MAX_TOOL_DATA_BYTES:
            raise too_large(MAX_TOOL_DATA_BYTES)
        return self


class Message(WireModel):
    """A message of a session; lists have the oldest first. `id` is unique and says no order."""

    role: Annotated[str, Field(description="user, assistant or system.", examples=["assistant"])]
    content: str
    tool_calls: ToolData | None = None
    tool_results: ToolData | None = None
    images: Annotated[
        list[str] | None,
        Field(description="References of its images, for the `images` of a chat."),
    ] = None
    id: WireInt
    session_id: Annotated[WireInt, Field(description="The session's integer id.")]
    tokens_used: Annotated[WireInt | None, Field(description="Input and output together.")] = None
    cost: Usd | None = None
    created_at: UtcDatetime


class SessionSummary(WireModel):
    """A session without its messages, as lists show it."""

    project_id: WireInt
    card_id: WireInt | None = None
    provider: str
    model: str
    id: WireInt
    session_id: Annotated[str, Field(examples=["0199f3a2-7c1e-7d8b-9a51-3f0c2b6d4e11"])]
    user_id: WireInt
    status: Annotated[str, Field(description="active, completed, failed or cancelled.")]
    context: dict[str, Any]
    created_at: UtcDatetime
    updated_at: UtcDatetime | None = None
    completed_at: UtcDatetime | None = None


class Session(SessionSummary):
    """A session with its newest messages, oldest first: 200 of them and about 5 MB at most."""

    messages: list[Message]
    messages_truncated: Annotated[
        bool,
        Field(description="There are older messages; GET .../messages has them all."),
    ] = False


class SessionPage(WireModel):
    """Sessions, newest first."""

    sessions: list[SessionSummary]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None


class MessagePage(WireModel):
    """Messages of a session, oldest first."""

    messages: list[Message]
    has_more: bool
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page.")] = None


class ToolFunction(WireModel):
    """A function that a model may call; `parameters` is the JSON Schema of its arguments."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", examples=["find_cards"])]
    description: Annotated[str | None, Field(max_length=MAX_DESCRIPTION_LENGTH)] = None
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})


class ToolDefinition(WireModel):
    """A tool of a chat; the message that answers has the model's `tool_calls`."""

    type: Literal["function"] = "function"
    function: ToolFunction


class ToolResult(WireModel):
    """What a called tool said, or why it failed."""

    tool_call_id: Annotated[str, Field(min_length=1, max_length=MAX_CALL_ID_LENGTH)]
    content: Content
    is_error: bool = False


class ChatQuestion(WireModel):
    """A message to a model, in a session or (without session_id) in a new one.

    `message` may be blank where there are images or tool_results.
    """

    message: Content
    project_id: WireId
    user_id: WireId
    session_id: SessionId | None = None
    card_id: WireId | None = None
    provider: Name | None = None
    model: Name | None = None
    tools: Annotated[
        list[ToolDefinition] | None,
        Field(
            max_length=MAX_TOOLS,
            description=f"What the model may call; {MAX_TOOL_DATA_BYTES} bytes of JSON at most.",
        ),
    ] = None
    tool_results: Annotated[
        list[ToolResult] | None,
        Field(
            max_length=MAX_TOOLS,
            description="Answers to the tool_calls of the session's last message; "
            f"{MAX_TOOL_DATA_BYTES} bytes of JSON at most.",
        ),
    ] = None
    max_output_tokens: Annotated[
        WireId | None, Field(description="Bounds the answer, reasoning included.")
    ] = None
    images: Annotated[
        list[Image] | None,
        Field(
            max_length=MAX_IMAGES,
            description=f"What the message shows; {MAX_IMAGE_BYTES} bytes each at most.",
        ),
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.message.strip() and not self.tool_results and not self.images:
            raise PydanticCustomError("blank_message", "message is blank")
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise PydanticCustomError("repeated_tool", "tools have distinct names")
        for part in (self.tools, self.tool_results):
            if part and json_size([one.model_dump() for one in part]) > MAX_TOOL_DATA_BYTES:
                raise too_large(MAX_TOOL_DATA_BYTES)
        return self


class ChatRequest(ChatQuestion):
    """A ChatQuestion that somebody waits for."""

    stream: Annotated[
        bool, Field(description="False on /chat (400 otherwise); /chat/stream streams either way.")
    ] = True


class ChatResponse(WireModel):
    """The model's whole answer."""

    session_id: str
    message: Message
    status: Annotated[str, Field(examples=["completed"])] = "completed"
    turn_id: Annotated[str | None, Field(description="Of the turn that made it.")] = None


class ChunkError(WireModel):
    """Why a stream ended after its first byte."""

    code: Annotated[str, Field(examples=["provider_unavailable"])]
    title: str


class StreamingChatChunk(WireModel):
    """One `data:` line of a streamed answer; the line after the finished one is `[DONE]`.

    The last chunk is finished, has an empty `chunk` and the `message_id` of the stored answer. With
    `error` it ends a stream that failed after its first byte; `message_id` is then that of the part
    that was stored, null if none was.
    """

    session_id: str
    chunk: str
    finished: bool
    message_id: WireInt | None = None
    error: Annotated[ChunkError | None, Field(exclude_if=is_none)] = None
