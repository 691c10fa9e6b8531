"""What holds for a source at a destination: the value of each key, the table that says so, and the rules.

Tables in their order, where a later one wins: default, provider, provider + source, site, domain, site + source,
domain + source. `replace_base` in one drops what the tables before it say, and their rules.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from senders.shaping.document import AutomationRule
from senders.shaping.file import ShapingFile
from senders.shaping.keys import KEYS, LaneKeys, ProviderKeys
from senders.shaping.sites import Destination, provider_of
from senders.shaping.toml_positions import TomlPath


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """A key's value, and the path in the file that says so; None if it is the built-in default."""

    value: Any
    path: TomlPath | None


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """An automation rule and its path in the file."""

    rule: AutomationRule
    path: TomlPath

    @property
    def name(self) -> str:
        """A name that stays while the rule keeps its place in its table, as in `provider.yahoo.automation[2]`."""
        *table, number = self.path
        return f"{'.'.join(map(str, table))}[{number}]"


def lane_name(source: str, site: str, provider: str | None) -> str:
    """The name of a lane. Providers that are known by the domains of recipients can meet at one site."""
    return f"{source} {site}" + (f" of {provider}" if provider else "")


@dataclass(frozen=True, slots=True)
class Egress:
    """How a source sends to a destination. `site` is the domain itself where a [domain] table sets it apart."""

    destination: Destination
    source: str
    site: str
    provider: str | None
    values: Mapping[str, EffectiveValue]
    rules: tuple[PlacedRule, ...]
    """The most specific first."""

    @property
    def lane(self) -> str:
        """The name of its lane, which the names of the lane's limits contain."""
        return lane_name(self.source, self.site, self.provider)

    @property
    def domain(self) -> str:
        """The domain of the recipients."""
        return self.destination.domain

    @property
    def keys(self) -> ProviderKeys:
        """The values without their places."""
        return ProviderKeys.model_construct(**{key: each.value for key, each in self.values.items()})


@dataclass(frozen=True, slots=True)
class _Layer:
    path: TomlPath
    table: LaneKeys


def resolve(file: ShapingFile, destination: Destination, source: str) -> Egress:
    """What holds for mails from a source to a destination."""
    document = file.document
    provider = provider_of(document.provider, destination)
    base = {key: EffectiveValue(getattr(file.base, key, None), None) for key in KEYS}
    values = dict(base)
    rules: list[PlacedRule] = []
    for layer in _layers(file, destination, provider, source):
        if getattr(layer.table, "replace_base", False):
            values, rules = dict(base), []
        for key in layer.table.model_fields_set & base.keys():
            values[key] = EffectiveValue(getattr(layer.table, key), (*layer.path, key))
        placed = enumerate(getattr(layer.table, "automation", ()))
        rules[:0] = [PlacedRule(rule, (*layer.path, "automation", number)) for number, rule in placed]
    own = destination.domain in document.domain
    site = destination.domain if own else destination.site
    return Egress(destination, source, site, provider, values, tuple(rules))


def _layers(file: ShapingFile, destination: Destination, provider: str | None, source: str) -> Iterator[_Layer]:
    document = file.document
    yield _Layer(("default",), document.default)
    if provider is not None:
        table = document.provider[provider]
        yield _Layer(("provider", provider), table)
        if source in table.sources:
            yield _Layer(("provider", provider, "sources", source), table.sources[source])
    names = {destination.site, *destination.mx_hosts}
    sites = [_Layer(("site", name), table) for name, table in document.site.items() if name in names]
    own = document.domain.get(destination.domain)
    ways = [*sites, *([_Layer(("domain", destination.domain), own)] if own is not None else [])]
    yield from ways
    for way in ways:
        within = getattr(way.table, "sources", {})
        if source in within:
            yield _Layer((*way.path, "sources", source), within[source])
