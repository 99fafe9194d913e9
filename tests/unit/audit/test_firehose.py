"""PutRecordBatch within its limits, and what it says entry by entry."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from functions.audit.adapters.firehose import MAX_BYTES, FirehoseArchive
from functions.audit.domain.archive import Archiver, Insertion
from functions.audit.domain.errors import ArchiveUnavailableError
from tests.fakes.audit_log import MemoryMetrics
from tests.fakes.audit_reading import NOW, entry

pytestmark = pytest.mark.anyio


class Firehose:
    """Refuses the entries it is told to, by their content."""

    def __init__(self, *, refuse=()) -> None:
        self.refuse = list(refuse)
        self.calls: list[list[bytes]] = []
        self.failure: Exception | None = None

    def put_record_batch(self, DeliveryStreamName, Records):  # noqa: N803
        assert DeliveryStreamName == "stream"
        if self.failure:
            raise self.failure
        rows = [record["Data"] for record in Records]
        self.calls.append(rows)
        answers = [
            {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
            if data in self.refuse
            else {"RecordId": "1"}
            for data in rows
        ]
        failed = sum("ErrorCode" in answer for answer in answers)
        self.refuse = [data for data in self.refuse if data not in rows]
        return {"FailedPutCount": failed, "RequestResponses": answers}


async def put(client, rows):
    return await FirehoseArchive("stream", lambda: client).put(rows)


async def test_positions_of_refused_entries_are_those_of_all_rows():
    client = Firehose(refuse=[b"row-3", b"row-501", b"row-1000"])
    rows = [f"row-{n}".encode() for n in range(1_001)]
    assert await put(client, rows) == [3, 501, 1000]
    assert [len(call) for call in client.calls] == [500, 500, 1]


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [
        ([1_024_000] * 4, [4]),
        ([1_024_000] * 5, [4, 1]),
        ([1_024_000] * 4 + [MAX_BYTES - 4_096_000], [5]),
        ([1_024_000] * 4 + [MAX_BYTES - 4_096_000 + 1], [4, 1]),
        ([1] * 500, [500]),
        ([1] * 501, [500, 1]),
        ([], []),
    ],
)
async def test_a_call_is_full_to_the_byte(sizes, calls):
    client = Firehose()
    rows = [b"x" * size for size in sizes]
    assert await put(client, rows) == []
    assert [len(call) for call in client.calls] == calls
    assert [data for call in client.calls for data in call] == rows


async def test_what_firehose_refuses_comes_again_until_it_is_taken():
    rows = [
        Insertion(f"EVENT#e{n}", entry(f"e{n}", NOW, metadata={"n": "y" * 40_000}).record)
        for n in range(80)
    ]
    metrics = MemoryMetrics()
    client = Firehose()

    async def no_pause(_seconds):
        return None

    archive = FirehoseArchive("stream", lambda: client)
    probe = Firehose()
    await Archiver(FirehoseArchive("stream", lambda: probe), metrics, no_pause).archive(rows)
    client.refuse = [probe.calls[0][1], probe.calls[0][3]]
    await Archiver(archive, metrics, no_pause).archive(rows)
    assert [len(call) for call in client.calls] == [4, 2]
    assert client.calls[1] == [client.calls[0][1], client.calls[0][3]]


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutRecordBatch"),
        EndpointConnectionError(endpoint_url="x"),
    ],
)
async def test_a_failing_call_is_an_error_of_the_archive(failure):
    client = Firehose()
    client.failure = failure
    with pytest.raises(ArchiveUnavailableError):
        await put(client, [b"x"])
