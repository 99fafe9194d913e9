"""Where the deployed APIs are, from the parameters that the stacks write."""

from collections.abc import Sequence

from localcloud.aws import Aws
from localcloud.door.plan import ServicePlan
from localcloud.settings import Service


def find_services(aws: Aws, services: Sequence[Service]) -> list[ServicePlan]:
    """Each service with its API's id, None for what is not deployed."""
    return [
        ServicePlan(
            name=service.name,
            health_name=service.health_name,
            port=service.port,
            api_id=aws.parameter(f"/santaclaude/local/{service.name}/api-id"),
            websocket_api_id=aws.parameter(f"/santaclaude/local/{service.name}/websocket-api-id"),
        )
        for service in services
    ]
