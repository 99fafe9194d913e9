"""Exports' way into the archive: the query, the waiting, and the result row by row."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.response import StreamingBody

from functions.audit.adapters.athena import AthenaArchive, AthenaTable, statement
from functions.audit.domain.errors import ArchiveUnavailableError
from functions.audit.domain.models import Filter, Found, Position, Span
from servicekit.clock import to_text
from tests.fakes.audit_reading import entry

pytestmark = pytest.mark.anyio

TABLE = AthenaTable("exports", "santaclaude_local_audit", "events")
SPAN = Span(datetime(2026, 8, 1, 0, 30, tzinfo=UTC), datetime(2026, 8, 31, 23, tzinfo=UTC))


class Athena:
    """The Athena and the S3 client: a query that ends after some states."""

    def __init__(self, rows=(), states=("SUCCEEDED",), result="results/q-1.csv") -> None:
        self.rows, self.states, self.result = list(rows), list(states), result
        self.started: list[dict] = []
        self.failure: Exception | None = None

    def start_query_execution(self, **arguments):
        if self.failure:
            raise self.failure
        self.started.append(arguments)
        return {"QueryExecutionId": "q-1"}

    def get_query_execution(self, QueryExecutionId):  # noqa: N803
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {
            "QueryExecution": {
                "Status": {"State": state},
                "ResultConfiguration": {"OutputLocation": "s3://res/results/q-1.csv"},
            }
        }

    def list_objects_v2(self, Bucket, Prefix):  # noqa: N803
        assert (Bucket, Prefix) == ("res", "results/q-1.csv")
        return {"Contents": [{"Key": f"{self.result}.metadata"}, {"Key": self.result}]}

    def get_object(self, Bucket, Key):  # noqa: N803
        assert (Bucket, Key) == ("res", self.result)
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(["event_id", "timestamp", "record"])
        writer.writerows(self.rows)
        content = text.getvalue().encode()
        return {"Body": StreamingBody(io.BytesIO(content), len(content))}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("functions.audit.adapters.athena.asyncio.sleep", pause)
    return pauses


async def read(athena, wanted=Filter()):  # noqa: B008
    archive = AthenaArchive(TABLE, lambda: athena, lambda: athena)
    return [found async for found in archive.read(wanted, SPAN)]


def test_the_query_reads_its_days_and_one_either_side():
    assert statement(TABLE, Filter(), SPAN) == (
        'SELECT DISTINCT event_id, "timestamp", record'
        ' FROM "santaclaude_local_audit"."events"'
        " WHERE \"day\" BETWEEN '2026-07-31' AND '2026-09-01'"
        " AND \"timestamp\" >= '2026-08-01T00:30:00.000000Z'"
        " AND \"timestamp\" < '2026-08-31T23:00:00.000000Z'"
    )


@pytest.mark.parametrize(
    ("wanted", "condition"),
    [
        (Filter(user_id=3), " AND user_id = 3"),
        (Filter(action="delete"), " AND action = 'delete'"),
        (Filter(resource="it's"), " AND resource = 'it''s'"),
        (Filter(resource="' OR 1=1 --"), " AND resource = ''' OR 1=1 --'"),
        (Filter(resource="\\'; DROP"), " AND resource = '\\''; DROP'"),
        (Filter(resource_prefix="a'b"), " AND starts_with(resource, 'a''b')"),
    ],
)
def test_values_are_literals(wanted, condition):
    assert statement(TABLE, wanted, SPAN).endswith(condition)


@pytest.mark.parametrize("result", ["results/q-1.csv", "results/q-1.csv/q-1.csv"])
async def test_rows_come_back_byte_for_byte(result):
    at = SPAN.start + timedelta(days=1)
    entries = [
        entry(f"e{n}", at + timedelta(seconds=n), metadata={"note": 'a"b\\c\n, ☃ 🙂'})
        for n in range(2_500)
    ]
    rows = [(e.event_id, to_text(e.accepted_at), e.record.decode()) for e in entries]
    found = await read(Athena(rows, result=result))
    assert found == [Found(Position(e.accepted_at, e.event_id), e.record) for e in entries]


async def test_waiting_grows_to_a_bound(no_waiting):
    athena = Athena(states=["QUEUED"] * 3 + ["RUNNING"] * 5 + ["SUCCEEDED"])
    assert await read(athena) == []
    assert no_waiting == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0, 3.0]
    (started,) = athena.started
    assert started["WorkGroup"] == "exports"
    assert started["QueryExecutionContext"] == {"Database": "santaclaude_local_audit"}


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
async def test_a_query_that_fails(state):
    with pytest.raises(ArchiveUnavailableError):
        await read(Athena(states=["RUNNING", state]))


async def test_a_result_that_is_not_there():
    athena = Athena()
    athena.list_objects_v2 = lambda **_: {}
    with pytest.raises(ArchiveUnavailableError):
        await read(athena)


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "TooManyRequestsException"}}, "StartQueryExecution"),
        ReadTimeoutError(endpoint_url="x"),
    ],
)
async def test_a_refusal_is_an_error_of_the_archive(failure):
    athena = Athena()
    athena.failure = failure
    with pytest.raises(ArchiveUnavailableError):
        await read(athena)
