"""The demo's summary: what was sent, what was not and why, and whether the books balance."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from cli.analytics.answers import analyst, ask
from cli.analytics.questions import named
from cli.analytics.tables import text_lines
from cli.demo.block import BLOCKED, Block
from cli.demo.books import Books, Check, as_text, event_to_mail
from cli.demo.crm import ENDPOINT, CrmVerdict
from cli.demo.restock import ALBUM, TIMES, Restock
from cli.environment import Environment
from schemas.vocabulary import OutcomeKind

QUESTIONS = {
    "funnel-by-trigger": "events and sends count webhooks too; what follows counts mails alone",
    "withheld": "",
    "engagement-by-day": "",
}
"""What analysts ask first (docs/analytics.md), with a remark; the answers come from the rollups that the recorder has
kept."""


@dataclass(frozen=True, slots=True)
class Kill:
    """The stream worker killed after so many live events, and the seconds until the next one's first checkpoint."""

    after_events: int
    recovered_s: float


@dataclass(slots=True)
class DemoReport:
    """The result of one run of the demo."""

    books: Books
    checks: list[Check]
    backfill_records: int
    backfill_s: float
    live_events: int
    live_s: float
    seed: int
    kill: Kill
    block: Block
    restock: Restock

    @property
    def balanced(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def counts(self) -> dict[str, Any]:
        """The figures of the last line."""
        books = self.books
        latency = event_to_mail(books, "thank-you")
        return {
            "balanced": self.balanced,
            "seed": self.seed,
            "backfill": {
                "records": self.backfill_records,
                "per_s": round(self.backfill_records / self.backfill_s),
            },
            "live_events": self.live_events,
            "worker_killed": True,
            "after_events": self.kill.after_events,
            "recovered_s": round(self.kill.recovered_s, 1),
            "block": self.block.counts(),
            "restock": self.restock.counts(books),
            "decisions": len(books.decisions),
            "decisions_by_outcome": _sorted(Counter(str(d.outcome) for d in books.decisions)),
            "decisions_by_reason": _sorted(Counter(str(d.reason) for d in books.decisions if d.reason)),
            "sends_by_trigger": _sorted(Counter(c.trigger for c in books.commands)),
            "commands": len(books.commands),
            "ledger": _sorted(Counter(books.ledger.values())),
            "outcomes": _sorted(Counter(str(o.kind) for o in books.outcomes)),
            "mails": len(books.mails),
            "rows": books.rows,
            "dead_letters": _sorted(books.dead_letters),
            "event_to_mail_ms": {"p50": latency.p50_ms, "p95": latency.p95_ms, "p99": latency.p99_ms},
            "mails_per_s": self.mails_per_s(),
        }

    def mails_per_s(self) -> float:
        """Mails a second between the first and the last of them."""
        moments = [mail.received_at for mail in self.books.mails]
        span = max(moments) - min(moments) if len(moments) > 1 else 0
        return round(len(moments) / span, 1) if span else 0.0


def _sorted(counter: Counter[str]) -> dict[str, int]:
    """Largest first, with plain text keys: JSON does not take enums as keys."""
    return {str(key): n for key, n in sorted(counter.items(), key=lambda item: (-item[1], item[0]))}


def show(console: Console, report: DemoReport, environment: Environment) -> None:
    """Prints the summary; its last line is one JSON object."""
    console.print()
    console.print(_decisions(report.books))
    _rates(console, report)
    _block(console, report.block)
    _restock(console, report.restock, report.books)
    _one_mail(console, report.books)
    _questions(console, environment)
    console.print(_books(report.checks))
    console.print(
        "\nLook around (the demo's data stays until the next demo):\n"
        f"  .venv/bin/ebbtide up --instance {environment.instance}\n"
        f"  .venv/bin/ebbtide psql --instance {environment.instance}\n"
        f"  .venv/bin/ebbtide dead-letters list --instance {environment.instance}\n"
        f"  {environment.home}/plan.html and person.html, in a browser\n",
        highlight=False,
    )
    console.file.write(orjson.dumps(report.counts()).decode() + "\n")
    console.file.flush()


def _decisions(books: Books) -> Table:
    table = Table(title="Decisions by rule, outcome and reason", title_justify="left", min_width=60)
    for column in ("rule", "outcome", "reason"):
        table.add_column(column)
    table.add_column("decisions", justify="right")
    counted = Counter((d.trigger, str(d.outcome), str(d.reason or "")) for d in books.decisions)
    for (trigger, outcome, reason), count in sorted(counted.items(), key=lambda i: (i[0][0], -i[1])):
        table.add_row(trigger, outcome, reason, f"{count:,}")
    return table


def _rates(console: Console, report: DemoReport) -> None:
    latency = event_to_mail(report.books, "thank-you")
    per_s = report.backfill_records / report.backfill_s
    retried = sum(o.kind is OutcomeKind.DEFERRED and o.channel == "email" for o in report.books.outcomes)
    console.print(
        f"\nThroughput   backfill {report.backfill_records:,} records at {per_s:,.0f}/s; "
        f"{report.live_events:,} live events and {len(report.books.mails):,} mails in {report.live_s:.0f} s"
        f"\nEvent → mail p50 {latency.p50_ms:,.0f} ms, p95 {latency.p95_ms:,.0f} ms, p99 {latency.p99_ms:,.0f} ms "
        f"(thank-you, {latency.count:,} mails, from the event's append to the receiver's copy, kill and block included)"
        f"\nKilled       the stream worker, after {report.kill.after_events:,} live events; the next one committed "
        f"{report.kill.recovered_s:.1f} s later"
        f"\nRetried      {retried:,} mails, which the receiver deferred or blocked and delivery made again"
        f"\nDead letters {sum(report.books.dead_letters.values())}: "
        + ", ".join(f"{cause} {n}" for cause, n in report.books.dead_letters.items()),
        highlight=False,
    )


def _block(console: Console, block: Block) -> None:
    """The block by the sink's receipts, as `senders status` had it meanwhile, and the life of one mail."""
    phases, domain = block.phases, block.blocking.domain
    console.print(f"\n[bold]{domain} blocks {BLOCKED}, one of our two addresses[/]")
    table = Table()
    table.add_column("mails that it took")
    for address, name in block.names.items():
        table.add_column(f"{name} ({address})", justify="right")
    rows = ("before the block", phases.before), ("meanwhile", phases.meanwhile), ("since the return", phases.after)
    for title, taken in rows:
        table.add_row(title, *(f"{taken[address]:,}" for address in block.names))
    console.print(table)
    reply = phases.refused[0].reply if phases.refused else "nothing"
    lines = [
        f"It refused {len(phases.refused):,} mails from {BLOCKED}, with: {reply}",
        f"After each suspension one mail tried again: {len(phases.probes):,} refused, the next one taken",
        "`ebbtide senders status` meanwhile:",
        f"  {block.suspension}",
        f"`ebbtide explain command {block.command}`, one of the refused mails:",
        *(f"  {line}" for line in block.life),
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _restock(console: Console, restock: Restock, books: Books) -> None:
    """Whom the restock reached and whom not, and what the CRM did with the webhooks."""
    console.print(f"\n[bold]{ALBUM} is back: one event, without a user, reaches those who wait for it[/]")
    table = Table()
    table.add_column("customers who asked to be told")
    for column in ("customers", "mails", "webhooks"):
        table.add_column(column, justify="right")
    for group in restock.groups(books):
        table.add_row(group.title, f"{group.customers:,}", f"{group.mails:,}", f"{group.webhooks:,}")
    console.print(table)
    event, calls = restock.event, Counter(each.verdict for each in restock.receipts)
    verified = len(restock.receipts) - calls[CrmVerdict.UNVERIFIED]
    said = ", ".join(f"{name} {value}" for name, value in event.properties.items())
    lines = [
        f"The shop published `{event.type}` ({said}), without a user, {TIMES} times with one id: nobody was told twice",
        f"{restock.still_waiting:,} customers go on waiting, by the states of the stream workers",
        f"The endpoint `{ENDPOINT}` led to a CRM at {restock.url}, which got {len(restock.receipts):,} calls:",
        f"  {verified:,} whose signature verifies, by the secret that delivery has too",
        f"  {calls[CrmVerdict.TAKEN] + calls[CrmVerdict.UNANSWERED]:,} taken, one for each customer",
        f"  {calls[CrmVerdict.FAILED]:,} answered with 503, and made again",
        f"  {calls[CrmVerdict.UNANSWERED]:,} taken without an answer, and made again: "
        f"{calls[CrmVerdict.REPEATED]:,} dropped by its id, as a repeat",
    ]
    if unverified := calls[CrmVerdict.UNVERIFIED]:
        lines.append(f"  {unverified:,} answered with 401: the signature does not verify (`ebbtide endpoints list`)")
    if restock.failed:
        lines.append(f"`ebbtide explain command {restock.failed}`, the webhook that got 503:")
        lines += [f"  {line}" for line in restock.life]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _one_mail(console: Console, books: Books) -> None:
    carts = {c.id for c in books.commands if c.trigger == "cart-abandoned"}
    from_cart = (m for m in books.mails if any(c.encode() in m.raw[:4000] for c in carts))
    mail = next(from_cart, books.mails[0] if books.mails else None)
    if mail is None:
        return
    console.print("\n[bold]One of the mails[/]")
    console.print("\n".join(f"  │ {line}" for line in as_text(mail.raw).splitlines()), markup=False, highlight=False)


def _questions(console: Console, environment: Environment) -> None:
    today = datetime.now(UTC).date()
    period = {"since": (today - timedelta(days=1)).isoformat(), "until": (today + timedelta(days=1)).isoformat()}
    with analyst(environment.database_url) as connection:
        for question in map(named, QUESTIONS):
            began_s = time.perf_counter()
            found = ask(connection, question, {**period, "trigger": "%", **question.values({})})
            took_ms = (time.perf_counter() - began_s) * 1e3
            console.print(f"\n[bold]{question.asks}[/]")
            command = f"ebbtide query {question.name} --instance {environment.instance}"
            console.print(f"{command}    ({took_ms:.0f} ms)", style="dim", markup=False, highlight=False)
            console.print("\n".join(text_lines(found)), markup=False, highlight=False, soft_wrap=True)
            if remark := QUESTIONS[question.name]:
                console.print(remark, style="dim", markup=False, highlight=False)


def _books(checks: list[Check]) -> Table:
    table = Table(title="The books", title_justify="left")
    table.add_column("must hold")
    table.add_column("")
    table.add_column("found")
    for check in checks:
        table.add_row(check.says, "[green]✓[/]" if check.holds else "[red]✗[/]", check.detail)
    return table
