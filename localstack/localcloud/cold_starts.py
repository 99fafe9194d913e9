"""Execution environments started a few at a time.

On AWS fifty calls at once start fifty environments in a moment. On a laptop as many starting
processes take so long together that every call exceeds its time limit. So a call that finds no free
environment starts one only while few are starting, and takes the first that becomes free meanwhile.
"""

import threading
from collections.abc import Callable, Mapping
from functools import wraps
from types import ModuleType
from typing import Any

Worker = Any
Acquire = Callable[..., tuple[Worker, str]]


class ColdStarts:
    """Limits how many of MiniStack's Lambda workers start at the same time.

    Waiting ends whatever the calls do that hold workers: a start needs nothing from them.
    """

    def __init__(self, runtime: ModuleType, at_once: int) -> None:
        self._acquire: Acquire = runtime.acquire_worker
        self._release: Callable[[Worker], None] = runtime.release_worker
        self._runtime = runtime
        self._at_once = at_once
        self._changed = threading.Condition()
        self._starting: set[Worker] = set()

    def acquire_worker(
        self,
        func_name: str,
        config: Mapping[str, Any],
        code_zip: bytes,
        qualifier: str = "$LATEST",
        max_concurrency: int | None = None,
    ) -> tuple[Worker, str]:
        """As MiniStack's own, after a wait where too many are starting."""
        key = self._runtime._worker_key(func_name, config, qualifier)  # noqa: SLF001
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._starting) < self._at_once or self._is_free(key)
            )
            worker, how = self._acquire(func_name, config, code_zip, qualifier, max_concurrency)
            if how == "spawn":
                self._starting.add(worker)
        return worker, how

    def release_worker(self, worker: Worker) -> None:
        """As MiniStack's own, and tell who waits."""
        self._release(worker)
        self._has_started(worker)

    def start_of(self, start: Callable[[Worker], None]) -> Callable[[Worker], None]:
        """What starts a worker's process, telling who waits when it has, or could not."""

        @wraps(start)
        def counted(worker: Worker) -> None:
            try:
                start(worker)
            finally:
                self._has_started(worker)

        return counted

    def _has_started(self, worker: Worker) -> None:
        with self._changed:
            self._starting.discard(worker)
            self._changed.notify_all()

    def _is_free(self, key: str) -> bool:
        with self._runtime._lock:  # noqa: SLF001
            return any(not worker.in_use for worker in self._runtime._workers.get(key, ()))  # noqa: SLF001


def limit(runtime: ModuleType, service: ModuleType, at_once: int) -> None:
    """Have MiniStack's Lambda `service` start at most `at_once` workers of `runtime` at a time."""
    starts = ColdStarts(runtime, at_once)
    for worker in (runtime.Worker, runtime.ProvidedWorker):
        worker._spawn = starts.start_of(worker._spawn)  # noqa: SLF001
    for module in (runtime, service):
        vars(module).update(
            acquire_worker=starts.acquire_worker, release_worker=starts.release_worker
        )
