"""What raises an alarm in the audit sink.

| alarm | raised when |
| --- | --- |
| records-overwritten | a put replaced a stored record, which IAM cannot forbid |
| records-removed | a record was removed, and not by its expiry |
| records-malformed | an item was put that holds no record: the archive lacks it |
| log-forks | the sealer found evidence that contradicts what it was about to write |
| proofs-refused | a proof was made that its own check refuses |
| sealing-late | a record has waited an hour for the log |
| sealing-stopped | a record has waited a day, or the sealer has said nothing for 15 minutes |
| gaps | a producer's sequence lacks a number: an operation was done and its record was lost |
| unsealed | a record is an hour old and not in the log: its marker is lost, or it never had one |
| search-late | the search for those is 6 hours behind, or has said nothing for 30 minutes |
| archive-behind | the archiver reads changes of 15 minutes ago |
| delivery-late, delivery-stopped | what Firehose holds is an hour, a day old |
| delivery-refused | Firehose could not convert a record, which the archive then lacks |
| <queue> | messages lie in a queue of failures |
"""

from collections.abc import Iterator, Sequence

from infra.constructs.alarms import Alarm
from infra.constructs.work_queue import FailureQueue

_HOUR = 3600.0
_DAY = 24 * _HOUR
# An hour is left alone in any case: a record that waits for a day is told of well before.
_SEARCH_LATE = 6 * _HOUR


def alarms(
    *,
    namespace: str,
    archiver: str,
    delivery_stream: str,
    failures: Sequence[FailureQueue],
) -> list[Alarm]:
    """All of them; sealer and reconciler put their ages at each of their runs."""
    return [
        *_forbidden(namespace),
        *_searches(namespace),
        *_sealing(namespace),
        *_archiving(archiver, delivery_stream),
        *(_left(queue.name) for queue in failures),
    ]


def _forbidden(namespace: str) -> Iterator[Alarm]:
    """What happens never, so that once is too often."""
    for name, metric, says in (
        ("records-overwritten", "RecordsOverwritten", "A stored audit record was overwritten."),
        ("records-removed", "RecordsRemoved", "An audit record was removed before its expiry."),
        ("records-malformed", "RecordsMalformed", "The record table got an item without a record."),
        ("log-forks", "LogForks", "The evidence in the bucket contradicts the ledger."),
        ("proofs-refused", "ProofsRefused", "A proof did not pass its own check."),
    ):
        yield Alarm(
            name=name,
            says=says,
            namespace=namespace,
            metric=metric,
            above=0,
            statistic="Sum",
            final=True,
        )


def _searches(namespace: str) -> Iterator[Alarm]:
    """What the reconciler looks for. It runs every five minutes: one run is in every period."""
    for name, metric, says, final in (
        (
            "gaps",
            "Gaps",
            "A producer's sequence has a gap: GET /api/v1/reconciliation names it.",
            False,
        ),
        (
            "unsealed",
            "UnsealedRecords",
            "An audit record of an hour ago is not in the log: the reconciler's log names it.",
            # Each is told once, so that silence afterwards does not say that it was sealed.
            True,
        ),
    ):
        yield Alarm(
            name=name,
            says=says,
            namespace=namespace,
            metric=metric,
            above=0,
            statistic="Sum",
            minutes=10,
            final=final,
        )
    yield Alarm(
        name="search-late",
        says="Nobody has looked whether audit records of the last hours are in the log.",
        namespace=namespace,
        metric="UnsearchedSeconds",
        above=_SEARCH_LATE,
        minutes=10,
        # One run that fails or takes longer is none yet.
        periods=3,
        silence_alarms=True,
    )


def _sealing(namespace: str) -> Iterator[Alarm]:
    for name, says, above, silence_alarms in (
        ("sealing-late", "An audit record has waited an hour to be sealed.", _HOUR, False),
        ("sealing-stopped", "Audit records are no longer sealed.", _DAY, True),
    ):
        yield Alarm(
            name=name,
            says=says,
            namespace=namespace,
            metric="OldestPendingSeconds",
            above=above,
            minutes=5,
            periods=3,
            silence_alarms=silence_alarms,
        )


def _archiving(archiver: str, delivery_stream: str) -> Iterator[Alarm]:
    yield Alarm(
        name="archive-behind",
        says="The archiver is behind the records table's stream, which keeps changes for a day.",
        namespace="AWS/Lambda",
        metric="IteratorAge",
        dimensions={"FunctionName": archiver},
        # Milliseconds.
        above=15 * 60 * 1000.0,
        minutes=5,
    )
    for name, says, above in (
        ("delivery-late", "What Firehose holds for the archive is an hour old.", _HOUR),
        ("delivery-stopped", "What Firehose holds for the archive is a day old.", _DAY),
    ):
        yield Alarm(
            name=name,
            says=says,
            namespace="AWS/Firehose",
            metric="DeliveryToS3.DataFreshness",
            dimensions={"DeliveryStreamName": delivery_stream},
            above=above,
            minutes=5,
        )
    # Delivered beside the archive, under errors/: freshness does not tell.
    yield Alarm(
        name="delivery-refused",
        says="Firehose could not convert a record: it lies under errors/ in the archive's bucket.",
        namespace="AWS/Firehose",
        metric="FailedConversion.Records",
        dimensions={"DeliveryStreamName": delivery_stream},
        statistic="Sum",
        above=0,
        minutes=5,
    )


def _left(queue: str) -> Alarm:
    service = queue.split("-", 2)[2]
    return Alarm(
        name=service.split("-", 1)[1],
        says=f"Something failed for good and lies in {queue}.",
        namespace="AWS/SQS",
        metric="ApproximateNumberOfMessagesVisible",
        dimensions={"QueueName": queue},
        above=0,
        minutes=5,
    )
