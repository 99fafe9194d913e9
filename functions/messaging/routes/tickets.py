"""Tickets for the WebSocket."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from contracts.messaging.progress import Ticket, TicketCreate
from functions.messaging.domain.dependencies import Control
from functions.messaging.domain.tickets import TicketService
from servicekit.fastapi_app import signed_router
from servicekit.problems import read_json
from servicekit.responses import WireResponse

routes = signed_router()


async def _service(request: Request) -> TicketService:
    dependencies: Control = request.app.state.dependencies
    return dependencies.tickets


@routes.post("/api/v1/tickets")
async def create_ticket(
    request: Request, service: Annotated[TicketService, Depends(_service)]
) -> WireResponse:
    """Lets a client follow topics."""
    wanted = await read_json(request, TicketCreate)
    issued = await service.issue(wanted.topics, wanted.user_id)
    told = WireResponse(
        Ticket(
            ticket=issued.secret,
            expires_at=issued.ticket.valid_until,
            url=service.url,
            topics=list(issued.ticket.topics),
        ),
        201,
    )
    told.headers["Cache-Control"] = "no-store"
    return told
