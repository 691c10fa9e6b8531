"""`ebbtide compare`: what a trigger in shadow or as a canary would have sent, beside what was sent."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.columns import aligned
from cli.environment import Environment
from cli.options import AsJson, Instance, console, print_json

if TYPE_CHECKING:
    from cli.lookback.shadow_comparison import ShadowComparison


def compare(
    trigger: Annotated[str, typer.Argument(help="The trigger in shadow, or the canary.", show_default=False)],
    other: Annotated[
        str | None, typer.Option("--with", help="The live trigger beside it; default: the same.", metavar="TRIGGER")
    ] = None,
    since: Annotated[str, typer.Option(help="How long ago it begins, or its first day in UTC.")] = "30d",
    until: Annotated[str, typer.Option(help="The day after the last, in UTC; default: now.")] = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Show what a trigger in shadow or a canary would have sent, beside what live sent, from the recorded decisions.

    By day, by user and by reason; of users whom one of two triggers alone would mail, also what the other one decided
    about them last. Without --with, both sides are of one trigger: the mails of a canary, and those kept back from
    everybody else. It reads as the role ebbtide_analyst, which cannot write.

    Exits with 1 if a trigger decided nothing in that time, or if it has only run live and there is no --with.

    Example: `ebbtide compare cart-abandoned-v2 --with cart-abandoned --since 14d`
    """
    from cli.analytics.answers import analyst
    from cli.analytics.days import begin_of, midnight
    from cli.lookback.shadow_comparison import read_comparison
    from infra.postgres.migrate import require_migrated

    now = datetime.now(UTC)
    end = midnight(until, "--until") if until else now
    begin = begin_of(since, "--since", now)
    if begin >= end:
        raise typer.BadParameter("must be before --until", param_hint="--since")
    with analyst(Environment.of(instance).database_url) as connection, require_migrated():
        found = read_comparison(connection, trigger, other or trigger, begin, end)
    if as_json:
        print_json(as_values(found))
        return
    for line in lines(found):
        console.print(line, markup=False, soft_wrap=True)


def lines(found: "ShadowComparison") -> Iterator[str]:
    """The comparison as text."""
    would, did = ("shadow", "sent") if found.is_one else (found.shadow, found.live)
    what = f"{found.shadow}: shadow beside live" if found.is_one else f"{found.shadow} beside {found.live}"
    yield f"{what}, {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    rows = [(f"{day}", f"{one:,}", f"{two:,}") for day, one, two in found.days]
    yield from aligned([("day", would, did), *rows, ("all", f"{found.would:,}", f"{found.did:,}")], right=(1, 2))
    yield ""
    yield from _user_lines(found, would, did)
    yield ""
    yield from _decision_lines(found)


def _user_lines(found: "ShadowComparison", would: str, did: str) -> Iterator[str]:
    users = found.users
    counts = {"both": users.both, "only_shadow": users.only_shadow, "only_live": users.only_live}
    names = {"both": "both", "only_shadow": f"only {would}", "only_live": f"only {did}"}
    rows = [(f"{counts[kind]:,}", names[kind], ", ".join(found.sample[kind])) for kind in counts]
    yield from aligned([("users", "mailed by", "look at"), *rows], right=(0,))
    if not found.is_one:
        yield f"{users.more:,} users would get more mails by {would}, {users.fewer:,} fewer"
    for of_shadow, alone, silent in ((True, would, did), (False, did, would)):
        rows = [
            (f"{each.users:,}", f"{each.outcome} {each.reason}".strip() or "no decision", "")
            for each in found.instead
            if each.of_shadow is of_shadow
        ]
        if rows:
            yield f"Users mailed by {alone} only: what {silent} decided about them last"
            yield from aligned(rows, right=(0,))


def _decision_lines(found: "ShadowComparison") -> Iterator[str]:
    rows = [
        (f"{count:,}", f"{users:,}", outcome, reason, trigger)
        for trigger, outcome, reason, count, users in found.decisions
    ]
    yield from aligned([("decisions", "users", "outcome", "reason", "rule"), *rows], right=(0, 1))


def as_values(found: "ShadowComparison") -> dict[str, Any]:
    """The comparison as JSON values."""
    days = [{"day": f"{day}", "shadow": would, "live": did} for day, would, did in found.days]
    names = ("trigger", "outcome", "reason", "decisions", "users")
    return {
        **asdict(found),
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "days": days,
        "decisions": [dict(zip(names, row, strict=True)) for row in found.decisions],
    }


COMMANDS: dict[str, Callable[..., None]] = {"compare": compare}
"""The commands by name."""
