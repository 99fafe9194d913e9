"""The browser pool: its table and bucket, its functions and its API, and the browser's function."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import bundles, bundling, routes
from infra.constructs.audit_outbox import AuditOutbox
from infra.constructs.browser_worker import BrowserWorker
from infra.constructs.permissions import (
    acknowledge_objects,
    bucket_itself,
    invoke,
    items,
    objects,
    queries,
)
from infra.constructs.private_bucket import AccessLogs, PrivateBucket
from infra.constructs.python_function import FunctionDefaults, PythonFunction
from infra.constructs.schedule import Schedule
from infra.constructs.service_api import RouteGroup, ServiceApi
from infra.constructs.service_layers import service_layers
from infra.constructs.service_table import ALL_ATTRIBUTES, ServiceTable
from infra.security import Reason
from infra.settings import DeploySettings
from infra.stacks.environment import EnvironmentStack

_SERVICE = "browser"
_HEALTH_NAME = "browser-pool-service"
_INDEXES = 2
_LOG_DAYS = 30
_REAP_MINUTES = 1
_OBJECTS = "sessions/*"
# Longer than a batch that a caller waits for, and what a function needs to begin.
_WORKER_TIMEOUT = Duration.seconds(60)

# Role names of the services, after the environment's prefix.
_CALLERS = ("projectflow-api", "ai-*")


class BrowserStack(EnvironmentStack):
    """Everything of the browser pool; it deploys and rolls back alone.

    The browser's function is an image with an environment for each session. In the local cloud,
    which has neither, it is the same code and the machine's Chromium.
    """

    def __init__(self, scope: Construct, name: str, *, settings: DeploySettings) -> None:
        super().__init__(scope, name, settings=settings)
        self._prefix = f"{settings.prefix}-{_SERVICE}"
        self._platform = bundles.NATIVE if settings.native_platform else bundles.LAMBDA
        self._table = ServiceTable(
            self,
            "Table",
            name=self._prefix,
            indexes=[ALL_ATTRIBUTES] * _INDEXES,
            retain=settings.retain_data,
            stream=True,
        )
        self._objects = PrivateBucket(
            self,
            "Objects",
            logs=AccessLogs(self, "AccessLogs", days=_LOG_DAYS),
            lifecycle_rules=[
                s3.LifecycleRule(expiration=Duration.days(settings.browser_object_days))
            ],
            retain=False,
        ).bucket
        self._defaults = self._defaults_of("browser")
        self._worker = self._browser_function()
        self._api_function = self._function(
            "api",
            {
                "OBJECTS_BUCKET": self._objects.bucket_name,
                "WORKER_FUNCTION": self._worker.function_arn,
                "WORKER_TENANTS": str(bool(settings.browser_image)).lower(),
                "EGRESS_SITES": ",".join(settings.browser_sites),
                "EGRESS_STRICT": str(settings.browser_strict).lower(),
                **self._limits(),
            },
            [
                items(
                    "Sessions",
                    self._table.table,
                    ("GetItem", "PutItem", "UpdateItem"),
                    partitions=[
                        "SESSION#*",
                        "PLACES#*",
                        "IDEMPOTENCY#*",
                        f"AUDIT*#{_SERVICE}:*",
                    ],
                ),
                queries("Opened", self._table, "gsi1"),
                objects(
                    "Objects", self._objects, ("DeleteObject", "GetObject", "PutObject"), _OBJECTS
                ),
                bucket_itself("Names", self._objects, ("ListBucket",)),
                invoke("Browser", self._worker),
            ],
            memory_mb=884,
            timeout=Duration.seconds(29),
        )
        acknowledge_objects(self._api_function.role, self._objects, _OBJECTS)
        reaper = self._function(
            "reap",
            {"OBJECTS_BUCKET": self._objects.bucket_name, **self._limits()},
            [
                items(
                    "Sessions",
                    self._table.table,
                    ("UpdateItem",),
                    partitions=["SESSION#*", "PLACES#*"],
                ),
                queries("Due", self._table, "gsi2"),
                objects("Objects", self._objects, ("DeleteObject",), _OBJECTS),
                bucket_itself("Names", self._objects, ("ListBucket",)),
            ],
            memory_mb=512,
            timeout=Duration.seconds(60),
            failures=Reason.SCHEDULED,
        )
        acknowledge_objects(reaper.role, self._objects, _OBJECTS)
        Schedule(self, "ReapSchedule", function=reaper, minutes=_REAP_MINUTES)
        AuditOutbox(
            self,
            "Audit",
            service=_SERVICE,
            table=self._table,
            defaults=self._defaults,
            environment=self._base_environment(),
            settings=settings,
        )
        self._api()

    def _defaults_of(self, package: str) -> FunctionDefaults:
        return FunctionDefaults(
            service=_SERVICE,
            code=bundling.code(
                bundles.SourceBundle((f"functions/{package}", "contracts"), platform=self._platform)
            ),
            layers=service_layers(
                # The two packages' layers are apart by their constructs.
                self if package == _SERVICE else Construct(self, "WorkerLayers"),
                lock=f"functions/{package}/requirements.txt",
                platform=self._platform,
            ),
            log_retention=self._settings.log_retention,
            snap_start=self._settings.snap_start and package == _SERVICE,
        )

    def _browser_function(self) -> lambda_.IFunction:
        settings = self._settings
        environment = {
            "ENVIRONMENT": settings.environment,
            "POWERTOOLS_SERVICE_NAME": f"{_HEALTH_NAME}-worker",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "CHROMIUM_PATH": settings.chromium_path or "/usr/bin/chromium-headless-shell",
            "CHROMIUM_SANDBOX": str(settings.chromium_sandbox).lower(),
            "LOOPBACK_SITES": ",".join(settings.browser_loopback_sites),
        }
        if settings.browser_image:
            return BrowserWorker(
                self,
                "Worker",
                name=f"{self._prefix}-worker",
                service=_SERVICE,
                timeout=_WORKER_TIMEOUT,
                log_retention=settings.log_retention,
                environment=environment,
                image=settings.browser_image,
            ).function
        return PythonFunction(
            self,
            "Worker",
            name=f"{self._prefix}-worker",
            handler="functions.browser_worker.entrypoints.run.handler",
            defaults=self._defaults_of("browser_worker"),
            environment=environment,
            memory_mb=2_560,
            timeout=_WORKER_TIMEOUT,
            permissions=[],
        ).alias

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
        """What every function reads: `BaseSettings` of functions/browser/settings.py."""
        return {
            "ENVIRONMENT": self._settings.environment,
            "POWERTOOLS_SERVICE_NAME": _HEALTH_NAME,
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "TABLE_NAME": self._table.table.table_name,
        }

    def _limits(self) -> dict[str, str]:
        settings = self._settings
        return {
            "MAX_SESSIONS": str(settings.browser_sessions),
            "MAX_PROJECT_SESSIONS": str(settings.browser_project_sessions),
            "MAX_USER_SESSIONS": str(settings.browser_user_sessions),
            "SESSION_IDLE_SECONDS": str(settings.browser_idle_seconds),
            "SESSION_AGE_SECONDS": str(settings.browser_age_seconds),
        }

    def _api(self) -> None:
        settings = self._settings
        api = ServiceApi(
            self,
            "Api",
            name=self._prefix,
            groups=[
                RouteGroup(
                    routes=routes.load("browser.v1"),
                    function=self._api_function.alias,
                    callers=[
                        *(f"{settings.prefix}-{role}" for role in _CALLERS),
                        *settings.operator_role_names,
                    ],
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
