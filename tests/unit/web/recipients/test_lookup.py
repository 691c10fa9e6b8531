"""The memory of look-ups is bounded, and what is asked for stays longest."""

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from web.recipients import stored
from web.recipients.lookup import Lookup

NOWHERE = "postgresql://postgres@127.0.0.1:1/nowhere"


def test_what_is_asked_for_is_remembered_longer_than_what_is_not() -> None:
    outage = Outage("ledger")
    links = Lookup(AsyncDatabase(NOWHERE, outage), outage, stored.links, 3)
    links.keep({bytes([number]): str(number) for number in range(3)})
    assert links.known(b"\0") == "0"
    links.keep({b"\x03": "3"})
    assert [links.known(bytes([number])) for number in range(4)] == ["0", None, "2", "3"]
