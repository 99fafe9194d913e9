"""The message service: its table, its functions and its API."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import bundles, bundling, routes
from infra.constructs.audit_outbox import AuditOutbox
from infra.constructs.event_archive import EventArchive
from infra.constructs.messaging_socket import Realtime
from infra.constructs.messaging_streams import MessagingStreams, reporting
from infra.constructs.messaging_sweep import MessagingSweep
from infra.constructs.messaging_tasks import MessagingTasks
from infra.constructs.messaging_webhooks import (
    Webhooks,
    control_environment,
    control_permissions,
)
from infra.constructs.permissions import items, put_events, queries, send
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.service_api import RouteGroup, ServiceApi
from infra.constructs.service_layers import service_layers
from infra.constructs.service_table import ALL_ATTRIBUTES, ServiceTable
from infra.security import Reason
from infra.settings import DeploySettings
from infra.stacks.environment import EnvironmentStack

_SERVICE = "messaging"
_INDEXES = 2

# Role names of the services, after the environment's prefix.
_SERVICES = ("projectflow-*", "ai-*", "browser-*", "audit-*")
_ADMINISTRATORS = ("projectflow-api",)


class MessagingStack(EnvironmentStack):
    """Everything of the message service; it deploys and rolls back alone."""

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(scope, name, settings=settings)
        self._prefix = f"{settings.prefix}-{_SERVICE}"
        self._table = ServiceTable(
            self,
            "Table",
            name=self._prefix,
            indexes=[ALL_ATTRIBUTES] * _INDEXES,
            retain=settings.retain_data,
            stream=True,
        )
        platform = bundles.NATIVE if settings.native_platform else bundles.LAMBDA
        self._defaults = FunctionDefaults(
            service=_SERVICE,
            code=bundling.code(
                bundles.SourceBundle(("functions/messaging", "contracts"), platform=platform)
            ),
            layers=service_layers(
                self, lock="functions/messaging/requirements.txt", platform=platform
            ),
            log_retention=settings.log_retention,
            snap_start=settings.snap_start,
        )
        self._realtime = Realtime(
            self,
            "Realtime",
            prefix=self._prefix,
            table=self._table,
            defaults=self._defaults,
            base_environment=self._base_environment(),
            settings=settings,
        )
        posting, may_post = self._realtime.posting()
        self._publish = self._function(
            "publish",
            {"EVENT_BUS": settings.event_bus, **posting},
            [
                items(
                    "Events",
                    self._table.table,
                    ("GetItem", "PutItem", "UpdateItem"),
                    partitions=["EVENT#*", "KEYLOG#*"],
                ),
                put_events("Bus", settings),
                *reporting(self._table),
                *may_post,
            ],
            memory_mb=884,
            timeout=Duration.seconds(29),
        )
        self._realtime.allow_push(self._publish)
        webhooks = Webhooks(
            self,
            "Webhooks",
            prefix=self._prefix,
            table=self._table,
            defaults=self._defaults,
            environment=self._base_environment(),
            settings=settings,
        )
        streams = MessagingStreams(
            self,
            "Streams",
            prefix=self._prefix,
            table=self._table,
            defaults=self._defaults,
            base_environment=self._base_environment(),
            webhooks=webhooks,
            settings=settings,
        )
        tasks = MessagingTasks(
            self,
            "Tasks",
            prefix=self._prefix,
            table=self._table,
            defaults=self._defaults,
            base_environment=self._base_environment(),
            webhooks=webhooks,
            settings=settings,
        )
        archive = EventArchive(self, "Archive", name=self._prefix, settings=settings)
        AuditOutbox(
            self,
            "Audit",
            service=_SERVICE,
            table=self._table,
            defaults=self._defaults,
            environment=self._base_environment(),
            settings=settings,
        )
        MessagingSweep(
            self,
            "Sweep",
            table=self._table,
            defaults=self._defaults,
            environment=self._base_environment(),
            settings=settings,
        )
        tickets, may_issue = self._realtime.tickets()
        self._control = self._function(
            "control",
            {
                **tickets,
                **streams.environment,
                **tasks.environment,
                "EVENT_BUS_ARN": archive.bus_arn,
                "EVENT_ARCHIVE_ARN": archive.arn,
                **control_environment(settings),
            },
            [
                items("Table", self._table.table, ("GetItem", "Query")),
                items(
                    "Begun",
                    self._table.table,
                    ("PutItem", "UpdateItem"),
                    partitions=["REDRIVES", "REPLAYS", f"AUDIT*#{_SERVICE}:*"],
                ),
                # Chains of events, dead letters, redrives and replays, each by time.
                queries("ByTime", self._table, "gsi1"),
                send("Tasks", tasks.queue),
                streams.figures("Depth"),
                iam.PolicyStatement(
                    sid="Age", actions=["cloudwatch:GetMetricData"], resources=["*"]
                ),
                archive.replaying("Replays"),
                *may_issue,
                *control_permissions(self._table),
            ],
            memory_mb=884,
            timeout=Duration.seconds(29),
        )
        archive.acknowledge(self._control.role)
        self._api()

    def _function(
        self,
        name: str,
        environment: Mapping[str, str],
        permissions: Sequence[iam.PolicyStatement],
        *,
        memory_mb: int,
        timeout: Duration,
        failures: Reason = Reason.SYNCHRONOUS,
    ) -> PythonFunction:
        """A function of the entrypoint of that name."""
        return PythonFunction(
            self,
            f"{name.title()}Function",
            name=f"{self._prefix}-{name}",
            handler=f"functions.{_SERVICE}.entrypoints.{name}.handler",
            defaults=self._defaults,
            environment={**self._base_environment(), **environment},
            memory_mb=memory_mb,
            timeout=timeout,
            permissions=permissions,
            failures=failures,
        )

    def _base_environment(self) -> dict[str, str]:
        """What every function reads: `BaseSettings` of functions/messaging/settings.py."""
        return {
            "ENVIRONMENT": self._settings.environment,
            "POWERTOOLS_SERVICE_NAME": "message-queue-service",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "TABLE_NAME": self._table.table.table_name,
            "EVENT_RETENTION_DAYS": str(self._settings.event_retention_days),
        }

    def _api(self) -> None:
        settings = self._settings
        operators = settings.operator_role_names
        all_routes = routes.load("messaging.v1")
        api = ServiceApi(
            self,
            "Api",
            name=self._prefix,
            groups=[
                RouteGroup(
                    routes=[route for route in all_routes if route.tag == tag],
                    function=function.alias,
                    callers=[*(f"{settings.prefix}-{role}" for role in roles), *operators],
                )
                for tag, function, roles in (
                    ("publish", self._publish, _SERVICES),
                    ("control", self._control, _ADMINISTRATORS),
                )
            ],
            stream_responses=settings.response_streaming,
            throttling_rate=settings.throttling_rate,
            throttling_burst=settings.throttling_burst,
            log_retention=settings.log_retention,
        ).api
        self.publish(_SERVICE, api)
        if settings.trust_local_operator:
            self.admit_operator(_SERVICE, api)
