"""Live progress: what its functions share."""

from __future__ import annotations

from functions.messaging.adapters.connections_api import ConnectionsApi
from functions.messaging.adapters.dynamodb_connections import DynamoConnections
from functions.messaging.adapters.dynamodb_progress import DynamoProgress
from functions.messaging.adapters.dynamodb_tickets import DynamoTickets
from functions.messaging.adapters.push_function import PushFunction, order_from
from functions.messaging.bootstrap.common import audit_trail, begin
from functions.messaging.domain.conversation import Conversations
from functions.messaging.domain.dependencies import Push, Socket
from functions.messaging.domain.progress import ProgressService
from functions.messaging.domain.push import Pusher
from functions.messaging.domain.tickets import TicketService
from functions.messaging.settings import (
    ControlSettings,
    PublishSettings,
    PushSettings,
    SocketSettings,
)
from servicekit.clock import utc_now
from servicekit.dynamodb import DynamoTable


def progress_service(settings: PublishSettings, table: DynamoTable) -> ProgressService:
    """Posts progress."""
    connections = DynamoConnections(table, utc_now)
    return ProgressService(
        DynamoProgress(table, utc_now),
        connections,
        Pusher(ConnectionsApi(settings.connections_url), connections, utc_now),
        PushFunction(settings.push_function),
    )


def ticket_service(settings: ControlSettings, table: DynamoTable) -> TicketService:
    """Issues tickets."""
    return TicketService(DynamoTickets(table), audit_trail(table), utc_now, settings.websocket_url)


def socket_from_environment() -> Socket:
    """Of the WebSocket API's routes. Raises `SettingsError`."""
    settings = SocketSettings.from_environment()
    begin(settings)
    table = DynamoTable(settings.table_name)
    return Socket(
        Conversations(
            DynamoTickets(table),
            DynamoConnections(table, utc_now),
            DynamoProgress(table, utc_now),
            ConnectionsApi(settings.connections_url),
            utc_now,
        )
    )


def push_from_environment() -> Push:
    """Of the function that pushes to many connections. Raises `SettingsError`."""
    settings = PushSettings.from_environment()
    begin(settings)
    connections = DynamoConnections(DynamoTable(settings.table_name), utc_now)
    sockets = ConnectionsApi(settings.connections_url)
    return Push(order_from, Pusher(sockets, connections, utc_now))
