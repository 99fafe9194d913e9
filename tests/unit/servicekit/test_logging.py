"""What a log line may hold."""

import io
import json
import logging

import pytest

from servicekit.logging import configure_logging


@pytest.fixture
def lines():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("some-service", "DEBUG", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)


def fail():
    try:
        raise ValueError("secret one")  # noqa: TRY301
    except ValueError as error:
        error.add_note("secret two")
        raise RuntimeError("secret three") from error


def test_exceptions_are_types_and_frames(lines):
    try:
        fail()
    except RuntimeError:
        logging.getLogger("functions.x").exception("it failed")
    (line,) = lines()
    assert "secret" not in json.dumps(line)
    assert [part["type"] for part in line["stack"]] == [
        "builtins.RuntimeError",
        "builtins.ValueError",
    ]
    assert line["stack"][0]["frames"][-1].endswith(" fail")
    assert line["service"] == "some-service"
    assert line["timestamp"].endswith("+00:00")


def test_libraries_do_not_speak_below_warning(lines):
    logging.getLogger("botocore.endpoint").debug("secret body")
    logging.getLogger("botocore.endpoint").warning("careful")
    logging.getLogger("servicekit.x").debug("ours")
    assert [line["message"] for line in lines()] == ["careful", "ours"]
