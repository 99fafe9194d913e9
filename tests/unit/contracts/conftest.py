"""Fixtures of the contracts' tests."""

import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def _event_loops_may_start() -> None:
    # An event loop wakes itself by a pair of Unix sockets; the network stays closed.
    pytest_socket.enable_socket()
    pytest_socket.disable_socket(allow_unix_socket=True)
