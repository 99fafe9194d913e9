"""Few of MiniStack's workers start at a time; who waits takes the first that becomes free."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from localcloud import cold_starts


class Runtime:
    """MiniStack's pool of workers, whose processes start when the test lets them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._workers = {}
        self.may_start = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.fails = False
        outer = self

        class Worker:
            in_use = True

            def _spawn(self):
                outer.begun.release()
                assert outer.may_start.acquire(timeout=5)
                if outer.fails:
                    raise RuntimeError("no process")

        class ProvidedWorker(Worker):
            def _spawn(self):
                super()._spawn()

        self.Worker, self.ProvidedWorker = Worker, ProvidedWorker

    def _worker_key(self, func_name, config, qualifier):
        return f"{func_name}:{qualifier}"

    def acquire_worker(self, func_name, config, code_zip, qualifier, max_concurrency):
        with self._lock:
            pool = self._workers.setdefault(self._worker_key(func_name, config, qualifier), [])
            for worker in pool:
                if not worker.in_use:
                    worker.in_use = True
                    return worker, "reused"
            pool.append(self.Worker())
            return pool[-1], "spawn"

    def release_worker(self, worker):
        with self._lock:
            worker.in_use = False


@pytest.fixture
def runtime():
    return Runtime()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as executor:
        yield executor


@pytest.fixture
def call(runtime):
    """One invocation, as MiniStack's Lambda does it."""
    service = SimpleNamespace()
    cold_starts.limit(runtime, service, 2)

    def invoke(name="f", until=None):
        worker, how = service.acquire_worker(name, {}, b"")
        try:
            if how == "spawn":
                worker._spawn()
            if until:
                assert until.wait(5)
        finally:
            service.release_worker(worker)
        return how

    return invoke


def begun(runtime, count):
    for _ in range(count):
        assert runtime.begun.acquire(timeout=5)


def test_two_start_and_serve_all(runtime, pool, call):
    calls = [pool.submit(call) for _ in range(10)]
    begun(runtime, 2)
    assert not runtime.begun.acquire(timeout=0.05)
    runtime.may_start.release(10)
    assert sorted(one.result(5) for one in calls)[:1] == ["reused"]
    assert len(runtime._workers["f:$LATEST"]) < 10


def test_a_start_lets_the_next_begin_while_calls_go_on(runtime, pool, call):
    done = threading.Event()
    calls = [pool.submit(call, until=done) for _ in range(5)]
    runtime.may_start.release(5)
    begun(runtime, 5)
    done.set()
    assert [one.result(5) for one in calls] == ["spawn"] * 5


def test_a_start_that_fails_gives_its_place_back(runtime, pool, call):
    runtime.fails = True
    runtime.may_start.release(8)
    calls = [pool.submit(call, str(number)) for number in range(8)]
    assert all(isinstance(one.exception(5), RuntimeError) for one in calls)


def test_a_worker_never_started_gives_its_place_back(runtime, pool):
    starts = cold_starts.ColdStarts(runtime, 1)
    worker, how = starts.acquire_worker("f", {}, b"")
    assert how == "spawn"
    waiting = pool.submit(starts.acquire_worker, "g", {}, b"")
    starts.release_worker(worker)
    assert waiting.result(5)[1] == "spawn"
