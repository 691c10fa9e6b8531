"""The rates that a mail on a lane must keep to: those of its lane, its provider, and its kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from senders.shaping.actions import ActionBook, ActiveAction, applied
from senders.shaping.document import OF_MAIL
from senders.shaping.file import ShapingFile
from senders.shaping.gcra import PacedLimit
from senders.shaping.keys import ProviderKeys
from senders.shaping.quantities import SendRate
from senders.shaping.resolution import Egress
from senders.shaping.ways import TrafficKind, targets_of


@dataclass(frozen=True, slots=True)
class NamedRate:
    """A limit that binds, the rate as written, and what says so: a rule, or a key of the file."""

    paced: PacedLimit
    rate: SendRate
    set_by: str

    @classmethod
    def of(cls, name: str, rate: SendRate, set_by: str) -> "NamedRate":
        """The limit of this name."""
        return cls(PacedLimit.of(name, rate), rate, set_by)


def keys_now(egress: Egress, actions: ActionBook, now_us: int) -> tuple[ProviderKeys, Mapping[str, ActiveAction]]:
    """The keys of a lane with what rules have set, and those rules."""
    changes = actions.values(targets_of(egress, None).values(), now_us)
    return applied(egress.keys, changes), changes


def rates_of_lane(egress: Egress, keys: ProviderKeys, changes: Mapping[str, ActiveAction]) -> list[NamedRate]:
    """The rates that all mails of a lane keep to."""

    def rate(key: str, name: str) -> Iterator[NamedRate]:
        value = getattr(keys, key)
        if value is not None:
            yield NamedRate.of(name, value, set_by(egress, key, changes))

    lane = f"mails {egress.lane}"
    provider = f"mails {egress.source} provider {egress.provider}"
    return [*rate("max_message_rate", lane), *rate("provider_max_message_rate", provider)]


def connection_rate(egress: Egress, keys: ProviderKeys, changes: Mapping[str, ActiveAction]) -> NamedRate | None:
    """The rate of new connections of a lane."""
    if keys.max_connection_rate is None:
        return None
    name = f"connections {egress.lane}"
    return NamedRate.of(name, keys.max_connection_rate, set_by(egress, "max_connection_rate", changes))


def connection_limits(egress: Egress, keys: ProviderKeys) -> list[tuple[str, int]]:
    """The limits of which a connection of a lane needs a slot each."""
    limits = [(f"connections {egress.lane}", keys.connection_limit or 1)]
    if keys.provider_connection_limit is not None:
        limits.append((f"connections {egress.source} provider {egress.provider}", keys.provider_connection_limit))
    return limits


def rates_of_kind(
    file: ShapingFile, egress: Egress, kind: TrafficKind, actions: ActionBook, now_us: int
) -> list[NamedRate]:
    """The rates that mails of a kind keep to, whatever their lane: of the file, and of rules."""
    document, found = file.document, []
    tables = {"trigger": document.trigger, "purpose": document.purpose, "from_domain": document.from_domain}
    for what, named in tables.items():
        name = str(getattr(kind, what))
        table = named.get(name)
        if table is not None and table.max_message_rate is not None:
            found.append(NamedRate.of(f"mails {what} {name}", table.max_message_rate, f"{what}.{name}"))
        at_provider = table.provider.get(egress.provider or "") if table is not None else None
        if at_provider is not None:
            set_by = f"{what}.{name}.provider.{egress.provider}"
            limit = f"mails {what} {name} provider {egress.provider}"
            found.append(NamedRate.of(limit, at_provider.max_message_rate, set_by))
    if actions.empty:
        return found
    for scope, there in targets_of(egress, kind).items():
        if scope in OF_MAIL:
            for target in (there, there[:2]):  # what rules set is for mails to a provider, what people set for all
                for action in actions.values([target], now_us).values():
                    name = f"mails {' '.join(target)}"
                    found.append(NamedRate.of(f"{name} by rule", action.values["max_message_rate"], action.rule))
    return found


def set_by(egress: Egress, key: str, changes: Mapping[str, ActiveAction]) -> str:
    """The rule or the key of the file that gives a key its value."""
    if key in changes:
        return changes[key].rule
    path = egress.values[key].path
    return ".".join(map(str, path)) if path is not None else "built-in"
