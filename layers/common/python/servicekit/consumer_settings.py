"""The environment of a consumer's function, as the CDK construct `EventConsumer` gives it."""

from __future__ import annotations

from pydantic import Field

from servicekit.settings import Settings


class ConsumerSettings(Settings):
    """Beside what every function of the service reads."""

    consumer_name: str = Field(min_length=1)
    consumer_queue_url: str = Field(min_length=1)
    # Longer than the function may run.
    consumer_lease_seconds: int = Field(ge=1)
    # At least as long as an event can be sent again.
    consumer_claim_days: int = Field(ge=1)
    # The SSM parameter that holds the address of the message service's API.
    messaging_url_parameter: str = Field(min_length=1)
