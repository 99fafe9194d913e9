"""What the archiver writes is what Firehose converts: attributes without a column would vanish."""

from functions.audit.domain.archive import COLUMNS
from functions.audit.routes.queue import MAX_RECEIVES


def test_the_table_has_the_columns_of_a_row(local):
    (table,) = local.resources("AWS::Glue::Table", "audit").values()
    columns = table["Properties"]["TableInput"]["StorageDescriptor"]["Columns"]
    assert {column["Name"]: column["Type"] for column in columns} == dict(COLUMNS)


def test_the_export_worker_knows_its_last_try(local):
    queues = local.resources("AWS::SQS::Queue", "audit").values()
    (exports,) = (
        queue["Properties"]
        for queue in queues
        if queue["Properties"].get("QueueName") == "santaclaude-local-audit-exports"
    )
    assert exports["RedrivePolicy"]["maxReceiveCount"] == MAX_RECEIVES
