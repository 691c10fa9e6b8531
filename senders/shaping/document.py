"""The tables of shaping.toml as models. `senders.shaping.loader` reads them, and says where a mistake stands."""

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from schemas.addresses import ascii_domain
from schemas.types import Name
from senders.shaping.keys import DurationText, LaneKeys, ProviderKeys, RateText, ShapingTable
from senders.shaping.patterns import ReplyPattern

MAX_RULES = 200
"""Of one table."""


_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


def host_name(text: str) -> str:
    """The name of a host or domain in its one form: A-labels in small letters; raises ValueError."""
    host = ascii_domain(text).lower()
    if not _HOST.fullmatch(host):
        raise ValueError("not a name of a host or domain")
    return host


def _suffix(text: str) -> str:
    if not text.startswith("."):
        raise ValueError('begins with a point, as in ".google.com"; a host alone is `host_name`')
    return f".{host_name(text[1:])}"


def _site(text: str) -> str:
    return text.lower() if text.startswith("(") else host_name(text)


def _relay(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port[:6]) < 65_536:
        raise ValueError('a relay is "HOST:PORT"; write an IPv6 address in brackets')
    if host.startswith("[") and host.endswith("]"):
        return f"[{IPv6Address(host[1:-1])}]:{int(port)}"
    return f"{host_name(host)}:{int(port)}"


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


HostName = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(host_name)]
HostSuffix = Annotated[str, StringConstraints(min_length=2, max_length=256), AfterValidator(_suffix)]
SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
SiteName = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_site)]
RelayName = Annotated[str, StringConstraints(max_length=300), AfterValidator(_relay)]


class HostMatch(ShapingTable):
    """One way to recognise a host of a provider. Exactly one key."""

    mx_suffix: HostSuffix | None = None
    """The MX host ends so."""
    host_name: HostName | None = None
    """The MX host is this one."""
    domain_suffix: HostSuffix | None = None
    """The domain of the recipient ends so, whatever its MX hosts are."""

    @model_validator(mode="after")
    def _one(self) -> "HostMatch":
        if len(self.model_fields_set) != 1:
            raise ValueError("has exactly one of `mx_suffix`, `host_name`, `domain_suffix`")
        return self


class SmtpState(StrEnum):
    """What a reply answered."""

    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class ActionKind(StrEnum):
    """What a rule does when it triggers."""

    SUSPEND = "suspend"
    """Nothing begins there; other sources of the pool take over."""
    HOLD = "hold"
    """Nothing begins there, and no other source takes over."""
    SET = "set"
    """Keys get other values."""


class ActionScope(StrEnum):
    """What a rule acts on, seen from the mail whose reply triggered it."""

    LANE = "lane"
    """Its source at its site."""
    SITE = "site"
    """Every source at its site."""
    PROVIDER = "provider"
    """Its source at every site of its provider."""
    SOURCE = "source"
    """Its source everywhere."""
    TRIGGER = "trigger"
    """Mails of its trigger to its provider, or to its site if that has none."""
    PURPOSE = "purpose"
    FROM_DOMAIN = "from_domain"


OF_MAIL = frozenset({ActionScope.TRIGGER, ActionScope.PURPOSE, ActionScope.FROM_DOMAIN})
"""Scopes of what the mail is, not of its way."""


def _action(value: Any) -> Any:
    if isinstance(value, str):
        if value == "set":
            raise ValueError('write {set = {max_message_rate = "1/m"}}')
        return {"kind": value}
    if isinstance(value, dict) and set(value) == {"set"}:
        return {"kind": ActionKind.SET, "set": value["set"]}
    raise ValueError('is "suspend", "hold" or {set = {KEY = VALUE}}')


class RuleAction(ShapingTable):
    """One action of a rule: `"suspend"`, `"hold"` or `{set = {KEY = VALUE}}`."""

    kind: ActionKind
    set: ProviderKeys | None = None

    @model_validator(mode="after")
    def _sets_something(self) -> "RuleAction":
        if self.set is not None and not self.set.model_fields_set:
            raise ValueError("sets no key")
        return self


def _pattern(text: str) -> str:
    ReplyPattern(text)
    return text


def _trigger(value: Any) -> Any:
    return None if value == "at once" else value


class AutomationRule(ShapingTable):
    """What a reply does to the way that it came from. Replies of our own never match."""

    pattern: Annotated[
        tuple[Annotated[str, AfterValidator(_pattern)], ...],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=20),
    ]
    state: Annotated[tuple[SmtpState, ...], BeforeValidator(_listed), Field(min_length=1)] = tuple(SmtpState)
    trigger: Annotated[RateText | None, BeforeValidator(_trigger)] = None
    """None: the first match triggers. Else the count of matches within the period."""
    action: Annotated[
        tuple[Annotated[RuleAction, BeforeValidator(_action)], ...],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=10),
    ]
    duration: DurationText
    scope: ActionScope = ActionScope.LANE

    @model_validator(mode="after")
    def _scope_has_the_keys(self) -> "AutomationRule":
        for action in self.action:
            if self.scope in OF_MAIL and action.kind is ActionKind.SUSPEND:
                raise ValueError(f"with the scope `{self.scope}` no other source helps: write `hold` for `suspend`")
            keys = action.set.model_fields_set if action.set else set()
            if self.scope in OF_MAIL and keys - {"max_message_rate"}:
                raise ValueError(f"with the scope `{self.scope}`, `set` takes only `max_message_rate`")
        if self.duration.total_seconds() < 1:
            raise ValueError("`duration` is at least 1s")
        return self


Rules = Annotated[tuple[AutomationRule, ...], Field(max_length=MAX_RULES)]


class SourceKeys(LaneKeys):
    """Values for one source within a table."""

    replace_base: bool = False


class ProviderSourceKeys(ProviderKeys):
    """Values for one source within a provider."""

    replace_base: bool = False


class DefaultTable(LaneKeys):
    """`[default]`: what holds everywhere."""

    automation: Rules = ()


class WayTable(LaneKeys):
    """`[site."HOST"]` or `[domain."NAME"]`. `replace_base` drops what wider tables say."""

    replace_base: bool = False
    automation: Rules = ()
    sources: dict[SourceName, SourceKeys] = Field(default_factory=dict, max_length=1000)


class ProviderTable(ProviderKeys):
    """`[provider.NAME]`: destinations for which every MX host matches."""

    match: Annotated[tuple[HostMatch, ...], Field(min_length=1, max_length=100)]
    replace_base: bool = False
    automation: Rules = ()
    sources: dict[SourceName, ProviderSourceKeys] = Field(default_factory=dict, max_length=1000)


class MailLimit(ShapingTable):
    """Limits of a kind of mail at one provider."""

    max_message_rate: RateText


class MailTable(ShapingTable):
    """`[trigger.NAME]`, `[purpose.NAME]` or `[from_domain."NAME"]`: limits of a kind of mail, whatever its way."""

    max_message_rate: RateText | None = None
    provider: dict[Name, MailLimit] = Field(default_factory=dict, max_length=500)


class SourceTable(ShapingTable):
    """`[source.NAME]`: where mails leave from."""

    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    ehlo_name: HostName | None = None
    weight: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    """Its share among the sources of a pool."""
    relays: Annotated[tuple[RelayName, ...], Field(max_length=20)] = ()
    """`HOST:PORT` of relays that take its mails instead of the MX hosts; the first that answers."""


class PoolTable(ShapingTable):
    """`[pool.NAME]`: the sources of some purposes. A pool without `purposes` takes all that no other pool names."""

    sources: Annotated[tuple[SourceName, ...], Field(min_length=1, max_length=1000)]
    purposes: Annotated[tuple[Name, ...], Field(max_length=1000)] = ()


class ShapingDocument(ShapingTable):
    """A whole file."""

    default: DefaultTable = DefaultTable()
    provider: dict[Name, ProviderTable] = Field(default_factory=dict, max_length=500)
    site: dict[SiteName, WayTable] = Field(default_factory=dict, max_length=5000)
    domain: dict[HostName, WayTable] = Field(default_factory=dict, max_length=5000)
    source: dict[SourceName, SourceTable] = Field(default_factory=dict, max_length=1000)
    pool: dict[Name, PoolTable] = Field(default_factory=dict, max_length=200)
    trigger: dict[Name, MailTable] = Field(default_factory=dict, max_length=5000)
    purpose: dict[Name, MailTable] = Field(default_factory=dict, max_length=1000)
    from_domain: dict[HostName, MailTable] = Field(default_factory=dict, max_length=1000)
