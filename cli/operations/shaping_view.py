"""A shaping file as people and programs read it: its findings, and what holds for a destination."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.columns import aligned
from cli.environment import Environment
from cli.options import Format
from schemas.addresses import ascii_domain
from schemas.errors import UserError
from schemas.wording import counted, nearest
from senders.channels.channel import NoDestination, Unreachable
from senders.channels.dns.direct import mail_domains
from senders.settings import SenderSettings
from senders.shaping.document import AutomationRule
from senders.shaping.file import ShapingFile, built_in
from senders.shaping.findings import ShapingFinding
from senders.shaping.lane_limits import connection_limits, rates_of_lane
from senders.shaping.loader import inspect, load, read
from senders.shaping.pools import DEFAULT_SOURCE
from senders.shaping.quantities import SendRate, duration_text
from senders.shaping.resolution import EffectiveValue, Egress
from senders.shaping.resolution import resolve as resolve_egress
from senders.shaping.sites import Destination


def check(path: Path) -> tuple[list[ShapingFinding], bool]:
    """All findings of a file, and whether delivery would refuse it."""
    file, findings = inspect(read(path), str(path))
    return findings, file is None


def show_findings(console: Console, path: Path, findings: Sequence[ShapingFinding], form: Format) -> None:
    """Prints findings, and their number as text."""
    for each in findings:
        if form is Format.GITHUB:
            console.file.write(
                f"::{each.severity} file={each.path},line={each.line},col={each.column}::{each.message}\n"
            )
        else:
            console.print(str(each), markup=False, soft_wrap=True)
    if form is Format.TEXT:
        counts = [counted(sum(each.severity == kind for each in findings), kind) for kind in ("error", "warning")]
        console.print(f"{path}: {', '.join(counts)}", markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What holds for mails to a destination, and the file that says so."""

    file: ShapingFile
    egress: Egress

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        egress = self.egress
        return {
            "domain": egress.domain,
            "source": egress.source,
            "provider": egress.provider,
            "site": egress.site,
            "lane": egress.lane,
            "limits": self.limits,
            "keys": {key: self._key(value) for key, value in egress.values.items()},
            "rules": [
                {"rule": each.name, "line": self.file.place(each.path)[0], **each.rule.model_dump(mode="json")}
                for each in egress.rules
            ],
        }

    @property
    def limits(self) -> list[str]:
        """The names of the limits that mails of the lane keep to, as `status` and `explain` show them."""
        keys = self.egress.keys
        rates = [each.paced.name for each in rates_of_lane(self.egress, keys, {})]
        return [*rates, *(name for name, _ in connection_limits(self.egress, keys))]

    def _key(self, value: EffectiveValue) -> dict[str, Any]:
        place = {"file": self.file.name, "line": self.file.place(value.path)[0]} if value.path else {}
        plain = value.value if value.value is None or isinstance(value.value, bool | int) else text_of(value.value)
        return {"value": plain, "set_by": table_of(value), **place}


def mx_hosts(environment: Environment, to: str) -> list[str]:
    """The MX hosts of a domain or of an address, as delivery finds them; raises UserError."""
    domains = mail_domains(environment.settings(SenderSettings))
    domain = to.rpartition("@")[2]
    try:
        return sorted(asyncio.run(domains.find(domain)).mx_hosts)
    except (NoDestination, Unreachable) as error:
        raise UserError(f"{error}; give its hosts with --mx") from None


def resolve(path: Path | None, to: str, mx: Sequence[str], source: str) -> Resolved:
    """What the file says of mails to a domain or an address; raises UserError."""
    file = load(path) if path is not None else built_in()
    known = file.document.source
    if source and known and source not in known:
        raise UserError(f"no source is called {source!r}; {nearest(source, known)}")
    try:
        domain = ascii_domain(to.rpartition("@")[2])
    except ValueError as error:
        raise UserError(f"not a domain: {error}") from None
    destination = Destination.of(domain, mx)
    return Resolved(file, resolve_egress(file, destination, source or next(iter(known), DEFAULT_SOURCE)))


def show_resolved(console: Console, found: Resolved) -> None:
    """Prints keys and rules with their lines."""
    file, egress = found.file, found.egress
    lines = [f"{egress.domain} from the source {egress.source}", f"site      {egress.site}"]
    lines.append(f"limits    {', '.join(found.limits)}")
    if egress.provider:
        lines.append(f"provider  {egress.provider}  {file.shown(('provider', egress.provider))}")
    rows = [
        (key, text_of(value.value), f"{file.shown(value.path)} {table_of(value)}" if value.path else "built-in")
        for key, value in egress.values.items()
    ]
    lines += ["", *aligned(rows)]
    if egress.rules:
        rules = [(rule_text(each.rule), file.shown(each.path)) for each in egress.rules]
        lines += ["", *aligned([(place, words) for words, place in rules])]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def table_of(value: EffectiveValue) -> str:
    """The table that sets a value."""
    return ".".join(map(str, value.path[:-1])) if value.path else "built-in"


def text_of(value: Any) -> str:
    """A value as the file would write it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return duration_text(value) if isinstance(value, timedelta) else str(value)


def rule_text(rule: AutomationRule) -> str:
    """What a rule does, on one line."""
    does = []
    for action in rule.action:
        keys = {key: getattr(action.set, key) for key in action.set.model_fields_set} if action.set else {}
        does.append(", ".join(f"{key} = {text_of(value)}" for key, value in keys.items()) or action.kind.value)
    when = f"{rule.trigger} of" if isinstance(rule.trigger, SendRate) else "at once on"
    return f"{'; '.join(does)} for {duration_text(rule.duration)} by {rule.scope}: {when} {' | '.join(rule.pattern)}"
