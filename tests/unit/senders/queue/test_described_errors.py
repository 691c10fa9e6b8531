"""How an error of delivery is described in the log."""

from datetime import UTC, datetime

import pytest

from infra.service.faults import describe
from senders.queue.outbox import OutboxRow


def test_an_error_is_described_by_the_line_of_delivery_that_raised_it() -> None:
    now = datetime.now(UTC)
    of_command = (1, "c", "u", "t", "p", "s", None, None, now, "email")
    row = OutboxRow(*of_command, "accepted", now, 1, None, None, "{ann@example.net", False, None, None)
    with pytest.raises(ValueError, match="Invalid JSON") as raised:
        row.message()
    described = describe(raised.value)
    assert described.startswith("ValidationError in outbox.py:")
    assert described.endswith("(message)")
