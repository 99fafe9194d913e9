"""What nobody can read ends as a dead letter: late among the files, as that takes minutes."""

from tests.e2e.conftest import eventually, job_queue


def test_a_message_that_is_no_job_lies_with_the_dead_letters(cloud, poison):
    sqs, url = cloud.client("sqs"), job_queue(cloud, "jobs-normal-dlq")

    def dead():
        received = sqs.receive_message(QueueUrl=url, VisibilityTimeout=0).get("Messages", [])
        return [message for message in received if message["Body"] == poison]

    assert eventually(dead, seconds=300)
