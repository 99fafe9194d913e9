"""One streamed application as a process: what a Lambda execution environment is on AWS."""

import asyncio
import datetime as dt
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import httpx

from localcloud.door.operator import Session
from localcloud.door.plan import Plan
from localcloud.door.problems import Problem
from localcloud.process import Identity, Record, forget, open_log
from localcloud.settings import REGION
from localcloud.streaming import StreamedFunction

SOCKETS_PREFIX = "santaclaude-"
_START_SECONDS = 60.0
STOP_SECONDS = 10
_POLL_SECONDS = 0.02
# Every stream holds a connection; one more than the limit would wait for another's end.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32)
# A streamed answer lasts 15 minutes at most, and its credentials must outlast it.
_LONGEST_ANSWER = dt.timedelta(minutes=16)


class Child:
    """A process with the function's code, layers, environment and role, on a socket of its own."""

    def __init__(self, function: StreamedFunction, plan: Plan, session: Session) -> None:
        self.function = function
        self.answering = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._plan = plan
        self._session = session
        self._record = f"streamed-{function.name}-{secrets.token_hex(4)}"
        # Not in the state directory: a socket's path has room for about 100 characters.
        self._directory = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir="/tmp"))
        self._socket = self._directory / "app.sock"
        self._process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self._socket), limits=_LIMITS),
            base_url="http://streamed",
            timeout=httpx.Timeout(None, connect=5),
            trust_env=False,
        )

    def usable(self) -> bool:
        """Whether it can take another call."""
        process = self._process
        return (
            process is not None
            and process.returncode is None
            and self._session.lasts(_LONGEST_ANSWER)
        )

    async def start(self) -> None:
        """Start the process and wait until the application is ready.

        Raises Problem when it is not; the process is gone then.
        """
        log = self._plan.logs / f"{self.function.name}.log"
        descriptor = open_log(log)
        try:
            self._process = await asyncio.create_subprocess_exec(
                str(self.function.code / self.function.handler),
                env=self.environment(),
                cwd=self.function.code,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
            )
        except OSError as error:
            await self.stop()
            raise self._not_started(str(error)) from error
        finally:
            os.close(descriptor)
        identity = Identity.of(self._process.pid)
        if identity:
            # With the directory to remove, should the front door be killed.
            Record(self._record, identity, log, str(self._directory)).save(self._plan.run)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._ready()
        except TimeoutError:
            await self.stop()
            raise self._not_started(f"not ready within {_START_SECONDS:.0f} s") from None
        except BaseException:
            await self.stop()
            raise

    def environment(self) -> dict[str, str]:
        """What Lambda gives a function, and the socket to listen on."""
        function, plan = self.function, self._plan
        layers = [str(layer / "python") for layer in function.layers]
        return (
            plan.environment
            | {
                "AWS_DEFAULT_REGION": REGION,
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
                "AWS_LAMBDA_FUNCTION_NAME": function.name,
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
                "AWS_LAMBDA_LOG_STREAM_NAME": self._record,
                "AWS_REGION": REGION,
                "LAMBDA_TASK_ROOT": str(function.code),
                "_HANDLER": function.handler,
            }
            | function.environment
            | {
                "AWS_ACCESS_KEY_ID": self._session.key,
                "AWS_SECRET_ACCESS_KEY": self._session.secret,
                "AWS_SESSION_TOKEN": self._session.token,
                "PATH": os.pathsep.join([str(plan.interpreter), "/usr/local/bin:/usr/bin:/bin"]),
                "PYTHONNOUSERSITE": "1",
                "PYTHONPATH": os.pathsep.join(layers),
                "PYTHONUNBUFFERED": "1",
                "UVICORN_UDS": str(self._socket),
            }
        )

    def lambda_context(self) -> bytes:
        """The header that the web adapter makes of the invocation."""
        function = self.function
        deadline = int((time.time() + function.timeout_seconds) * 1000)
        return json.dumps(
            {
                "request_id": str(uuid.uuid4()),
                "deadline": deadline,
                "invoked_function_arn": function.arn,
                "xray_trace_id": None,
                "client_context": None,
                "identity": None,
                "env_config": {
                    "function_name": function.name,
                    "memory": function.memory_mb,
                    "version": "$LATEST",
                    "log_group": f"/aws/lambda/{function.name}",
                    "log_stream": self._record,
                },
            }
        ).encode()

    async def stop(self) -> None:
        """End the process: kindly, then not."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
                await process.wait()
        await self.client.aclose()
        shutil.rmtree(self._directory, ignore_errors=True)
        forget(self._plan.run, self._record)

    async def _ready(self) -> None:
        while True:
            if self._process is None or self._process.returncode is not None:
                raise self._not_started("it ended")
            if self._socket.exists():
                try:
                    answer = await self.client.get("/_lwa/ready")
                except httpx.TransportError:
                    pass
                else:
                    if answer.status_code < 500:  # noqa: PLR2004 - the adapter's own rule
                        return
            await asyncio.sleep(_POLL_SECONDS)

    def _not_started(self, why: str) -> Problem:
        name = self.function.name
        return Problem(
            502,
            "application_not_started",
            f"{name} did not start: {why}.",
        )
