"""The errors of the AI service's domain."""

from __future__ import annotations

from servicekit.errors import AppError
from servicekit.idempotency import IdempotencyInProgressError


class SessionNotFoundError(AppError):
    """No such session, or it belongs to another project or user than the request says."""

    code = "session_not_found"
    status = 404
    title = "The session does not exist"


class SessionNotActiveError(AppError):
    """The session was completed, failed or cancelled; PATCH can make it active again."""

    code = "session_not_active"
    status = 409
    title = "The session is not active"


class SessionBusyError(AppError):
    """Too many writers at once."""

    code = "session_busy"
    status = 409
    title = "The session is being written to by others"


class SessionOccupiedError(Exception):
    """A turn is at work on the session: `turn_id`. The domain looks whether it still runs."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(turn_id)
        self.turn_id = turn_id


class HoldsExpiredError(Exception):
    """What a turn had reserved was given back, for it took too long: its settlement is refused."""


class TurnInProgressError(AppError):
    """One turn at a time: the next question waits for the answer, or cancels the turn."""

    code = "turn_in_progress"
    status = 409
    title = "The session is answering another message"

    def __init__(self, turn_id: str) -> None:
        super().__init__(
            f"Turn {turn_id} is at work on it.", retry_after=2, extensions={"turn_id": turn_id}
        )


class TurnNotFoundError(AppError):
    """No such turn, or it is gone with its session or its time."""

    code = "turn_not_found"
    status = 404
    title = "The turn does not exist"


class JobNotFoundError(AppError):
    """No such job, or the turn is none."""

    code = "job_not_found"
    status = 404
    title = "The job does not exist"


class TurnLostError(AppError):
    """Another process took the turn over, for this one gave no sign of life in time."""

    code = "turn_lost"
    status = 409
    title = "The turn was taken over by another request"


class TurnInterruptedError(AppError):
    """The process that ran the turn is gone; the same Idempotency-Key tries it again."""

    code = "turn_interrupted"
    status = 503
    title = "The turn was interrupted"


class TurnCancelledError(AppError):
    """Somebody cancelled the turn; what was said until then is kept."""

    code = "turn_cancelled"
    status = 409
    title = "The turn was cancelled"


class UnknownProviderError(AppError):
    """The provider is not in the catalogue."""

    code = "unknown_provider"
    status = 422
    title = "The provider does not exist"


class UnknownModelError(AppError):
    """The model is not in the catalogue."""

    code = "unknown_model"
    status = 422
    title = "The model does not exist"


class ModelRetiredError(AppError):
    """Its provider has withdrawn the model; the catalogue lists it as inactive."""

    code = "model_retired"
    status = 422
    title = "The model was withdrawn"


class ImagesNotSupportedError(AppError):
    """The catalogue says that the model reads no images."""

    code = "images_not_supported"
    status = 422
    title = "The model reads no images"


class StreamNotSupportedError(AppError):
    """POST /chat answers at once."""

    code = "use_chat_stream"
    status = 400
    title = "This call does not stream"


class ContextTooLongError(AppError):
    """The conversation does not fit into the model's window, or into what is read of it."""

    code = "context_too_long"
    status = 413
    title = "The conversation is too long for the model"


class ClaimLostError(IdempotencyInProgressError):
    """The work took longer than its lease and another request took it over."""


class ProviderError(AppError):
    """The model's side failed."""

    code = "provider_error"
    status = 502
    title = "The model failed"


class ProviderRejectedError(ProviderError):
    """The provider did not take the request."""

    code = "provider_rejected"
    title = "The provider refused the request"


class ProviderAuthError(ProviderError):
    """The deployment may not use the model."""

    code = "provider_access_denied"
    title = "The provider refused this deployment's access"


class ModelUnavailableError(ProviderError):
    """The provider does not have the model here."""

    code = "model_unavailable"
    title = "The model is not available at the provider"


class ProviderThrottledError(ProviderError):
    """The provider asks to come back later."""

    code = "provider_throttled"
    status = 429
    title = "The provider is throttling"


class ProviderUnavailableError(ProviderError):
    """The provider does not answer, or its answer broke off."""

    code = "provider_unavailable"
    status = 503
    title = "The provider is not available"


class ProviderTimeoutError(ProviderError):
    """The model said nothing for too long."""

    code = "provider_timeout"
    status = 504
    title = "The model did not answer in time"


class ContentRefusedError(AppError):
    """The provider's rules forbid the question or its answer; another provider's may not."""

    code = "content_refused"
    status = 422
    title = "The provider refuses this content"


class ProviderKeyMissingError(ProviderError):
    """The deployment has no key of the provider; the detail names where it belongs."""

    code = "provider_not_configured"
    status = 503
    title = "The provider has no key in this deployment"


class AnswerTooLargeError(ProviderError):
    """The answer does not fit into one message."""

    code = "answer_too_large"
    title = "The model's answer is too large"


class JobExpiredError(AppError):
    """A job waited until nobody wants it any more."""

    code = "job_expired"
    status = 503
    title = "The job waited too long to be begun"


class QueueUnavailableError(AppError):
    """A queue of jobs does not answer."""

    code = "queue_unavailable"
    status = 503
    title = "The queue is not available"


class EventsUnavailableError(AppError):
    """The message service does not take events."""

    code = "events_unavailable"
    status = 503
    title = "The message service is not available"
