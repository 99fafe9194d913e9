"""One streamed application as a process: its environment, its socket, its end."""

import asyncio
import datetime as dt
import os
import signal
from pathlib import Path

import pytest

from localcloud.door.child import Child
from localcloud.door.operator import Session
from localcloud.door.plan import Plan
from localcloud.door.problems import Problem
from localcloud.process import Identity
from localcloud.streaming import StreamedFunction

# Answers 200 to everything, as an application that is ready.
READY = """#!/usr/bin/env python3
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["UVICORN_UDS"])
listener.listen()
print(os.environ["TABLE_NAME"], os.environ["AWS_ACCESS_KEY_ID"], flush=True)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
"""


@pytest.fixture
def child(tmp_path):
    def make(program: str) -> Child:
        path = tmp_path / "stream.sh"
        path.write_text(program)
        path.chmod(0o755)
        function = StreamedFunction(
            name="ai-stream",
            arn="arn",
            service="ai",
            handler="stream.sh",
            role="arn:role",
            environment={"TABLE_NAME": "t", "AWS_ACCESS_KEY_ID": "the function's own"},
            memory_mb=128,
            timeout_seconds=5,
            code=tmp_path,
            layers=[],
        )
        plan = Plan(
            endpoint="http://127.0.0.1:1",
            services=[],
            streamed=[],
            environment={"HOME": str(tmp_path)},
            interpreter=tmp_path,
            logs=tmp_path,
            run=tmp_path,
            version="1",
        )
        session = Session("AKID", "s", "t", dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
        return Child(function, plan, session)

    return make


def records(folder: Path) -> list[Path]:
    return list(folder.glob("streamed-ai-stream-*.json"))


def test_it_runs_as_its_function_until_it_is_stopped(child, tmp_path):
    async def scenario():
        made = child(READY)
        await made.start()
        assert made.usable()
        assert len(records(tmp_path)) == 1
        socket = Path(made.environment()["UVICORN_UDS"])
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        await made.stop()
        assert not made.usable()
        return socket

    socket = asyncio.run(scenario())
    assert (tmp_path / "ai-stream.log").read_text() == "t AKID\n"
    assert (tmp_path / "ai-stream.log").stat().st_mode & 0o777 == 0o600
    assert not socket.parent.exists()
    assert records(tmp_path) == []


def test_one_that_ends_at_once_is_said_and_leaves_nothing(child, tmp_path):
    async def scenario():
        made = child("#!/bin/sh\nexit 1\n")
        with pytest.raises(Problem, match="ai-stream did not start: it ended"):
            await made.start()
        return Path(made.environment()["UVICORN_UDS"])

    assert not asyncio.run(scenario()).parent.exists()
    assert records(tmp_path) == []


def test_one_that_died_is_not_used_again(child):
    async def scenario():
        made = child(READY)
        await made.start()
        os.kill(made._process.pid, signal.SIGKILL)
        await made._process.wait()
        assert not made.usable()
        assert Identity.of(made._process.pid) is None
        await made.stop()

    asyncio.run(scenario())


def test_no_stream_waits_for_anothers_end(child):
    """More than the 100 connections that a pool has by default."""
    streams = 120

    async def scenario():
        made = child(READY)
        arrived = asyncio.Semaphore(0)

        async def hold(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            arrived.release()
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(hold, made.environment()["UVICORN_UDS"])
        calls = [asyncio.create_task(made.client.get("/")) for _ in range(streams)]
        async with asyncio.timeout(30):
            for _ in range(streams):
                await arrived.acquire()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await made.stop()
        server.close()

    asyncio.run(scenario())
