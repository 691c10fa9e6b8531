"""One person asks for what is kept of them, and then to be erased."""

import time
from datetime import UTC, datetime

from cli.demo.books import Check
from cli.environment import Environment
from cli.privacy import export, export_page
from cli.privacy.erasure import ErasureRun
from cli.privacy.people import PersonStores, open_stores
from cli.privacy.receipt import PlaceEnd
from cli.step_printer import StepPrinter

WITHIN_S = 120.0
"""Kafka compacts every 15 s; the rest is for a busy machine."""
EXPECTED = ("profile", "consent", "events", "state", "decisions", "mails")


def act_on_person(environment: Environment, printer: StepPrinter) -> list[Check]:
    """Exports a person who got a mail, erases them, and prints the receipt."""
    with open_stores(environment) as stores:
        user_id = _mailed(stores)
        printer.say(f"[bold]ebbtide privacy export {user_id}; ebbtide privacy erase {user_id}[/]")
        exported = export.export_person(environment, stores, user_id, datetime.now(UTC), printer)
        page = environment.home / "person.html"
        page.write_text(export_page.page(exported), encoding="utf-8")
        run = ErasureRun(environment, stores, printer, time.monotonic() + WITHIN_S)
        receipt = run.erase([user_id], datetime.now(UTC))
    receipt.show(printer.console)
    empty = [name for name in EXPECTED if not exported.sections[name]]
    ends = [each.end for each in receipt.places]
    found = ", ".join(f"{end}: {ends.count(end)} places" for end in PlaceEnd)
    return [
        Check("one person is exported from every place", not empty, f"nothing in: {', '.join(empty)}" if empty else ""),
        Check("and is erased from every place", receipt.is_complete, found),
    ]


def _mailed(stores: PersonStores) -> str:
    """A user who got a mail."""
    query = "SELECT user_id FROM ledger WHERE state = 'accepted' ORDER BY state_at, user_id LIMIT 1"
    [[user_id]] = stores.ledger.execute(query).fetchall()
    return str(user_id)
