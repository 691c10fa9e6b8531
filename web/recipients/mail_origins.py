"""Who got a mail, and why: from memory, the ledger or the analysts' table, in this order."""

import asyncio
from collections.abc import Container

from infra.postgres.database import IDLE_IN_TRANSACTION_S, AsyncDatabase
from infra.postgres.stores import Stores
from web.recipients import stored
from web.recipients.lookup import Lookup
from web.recipients.stored import MailOrigin

MOST = 50_000


class MailOrigins:
    """All methods belong to the event loop's thread; `run` must run. Mails of `erased` people have no origin."""

    def __init__(self, stores: Stores, erased: Container[str] = ()) -> None:
        ledger, timescale = stores
        self._erased = erased
        self._databases = [
            AsyncDatabase(store.url, store.outage, idle_in_transaction_s=IDLE_IN_TRANSACTION_S) for store in stores
        ]
        self._ledger = Lookup(self._databases[0], ledger.outage, stored.in_ledger, MOST)
        self._deliveries = Lookup(self._databases[1], timescale.outage, stored.in_deliveries, MOST)

    async def get(self, command_id: str) -> MailOrigin | None:
        """The origin of the command's mail, None if nobody knows it any more; raises StoreAway within a few seconds."""
        return self._of_known(await self._ledger.get(command_id) or await self._deliveries.get(command_id))

    async def patient(self, command_id: str) -> MailOrigin | None:
        """The same, but waits for the databases."""
        return self._of_known(await self._ledger.patient(command_id) or await self._deliveries.patient(command_id))

    def _of_known(self, origin: MailOrigin | None) -> MailOrigin | None:
        return None if origin is None or origin.user_id in self._erased else origin

    async def run(self) -> None:
        """Answer what is asked, until cancelled."""
        await asyncio.gather(self._ledger.run(), self._deliveries.run())

    async def close(self) -> None:
        """Close the connections."""
        for database in self._databases:
            await database.close()
