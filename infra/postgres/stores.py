"""The two databases of delivery's processes, each with its outage: that of the ledger, and that of the hypertables."""

from dataclasses import dataclass, field
from typing import NamedTuple

from infra.postgres.settings import DatabaseSettings
from infra.service.outages import Outage


@dataclass(frozen=True, slots=True)
class Store:
    """A database and whether it answers."""

    url: str = field(repr=False)
    outage: Outage


class Stores(NamedTuple):
    """The same store twice if the ledger has no database of its own."""

    ledger: Store
    timescale: Store

    @classmethod
    def of(cls, settings: DatabaseSettings) -> "Stores":
        """The stores that the settings name."""
        timescale = Store(settings.database_url, Outage("timescale"))
        apart = settings.ledger_is_apart
        return cls(Store(settings.ledger_url, Outage("ledger")) if apart else timescale, timescale)

    @property
    def outages(self) -> tuple[Outage, ...]:
        """The outages of both, each once."""
        return tuple({id(store): store.outage for store in self}.values())
