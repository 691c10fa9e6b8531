"""A write key as ingest knows it. The secret itself is kept nowhere."""

from dataclasses import dataclass
from enum import StrEnum


class KeyClass(StrEnum):
    """Who holds a key. A browser key is public: everybody can read it in a page's source."""

    SERVER = "server"
    BROWSER = "browser"


@dataclass(frozen=True, slots=True)
class WriteKey:
    """A key that is valid now."""

    id: str
    """Names the key in logs, metrics and commands. Not secret."""
    key_class: KeyClass
    source: str
    """Written into `Event.source`."""
    origins: tuple[str, ...] = ()
    """Of a browser key: the origins of the pages that may use it, as `https://shop.example`."""
    events_per_s: float | None = None
    """The limit over all workers; none if there is no limit."""

    def serves(self, origin: str | None) -> bool:
        """Whether a call with this header `Origin` may use the key. A server key may be used from anywhere."""
        return self.key_class is KeyClass.SERVER or origin in self.origins
