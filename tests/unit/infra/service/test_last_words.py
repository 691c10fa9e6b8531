"""What a process says of the error that ends it, and its exit status."""

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from infra.service.ending import CRASHED, OVERDUE, log_end
from infra.service.tasks import StillRunning

FENCED = "Fatal error: Broker: Static consumer fenced by other consumer with same group.instance.id"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "event", "status"),
    [
        (KafkaException(KafkaError(KafkaError._FATAL, FENCED)), "fenced", CRASHED),
        (KafkaException(KafkaError(KafkaError._FATAL, "Fatal error: another")), "crashed", CRASHED),
        (ValueError("a defect"), "crashed", CRASHED),
        (StillRunning("a part"), "crashed", OVERDUE),
        (caused(StillRunning("a part"), ValueError("a defect")), "crashed", CRASHED),
    ],
)
def test_the_error_decides_what_is_logged_and_the_status(error: Exception, event: str, status: int) -> None:
    with capture_logs() as logs:
        assert log_end(structlog.get_logger(), error) == status
    assert [line["event"] for line in logs] == [event]
