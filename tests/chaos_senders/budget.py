"""The budget of a chaos run: what it held, counted from the topic and the ledger, and its release by the command."""

import orjson
from chaos_senders.feed import SPREE
from drivers.running_senders import Harbour
from slow_model.compare import Comparison

from infra.kafka.topic_reader import read_all
from schemas.topics import COMMANDS

HELD = "state = 'admitted' AND reason = 'budget'"
"""Rows of `ledger_queue` that only a person lets go."""


def check_and_release(harbour: Harbour, found: Comparison) -> None:
    """All that exceeds the budget is held and nothing else, over all workers. Then a person releases it."""
    commands = (orjson.loads(message.value() or b"") for message in read_all(harbour.kafka, COMMANDS.name))
    budgets = {command["id"]: command["budgets"][0]["max"] for command in commands if command.get("budgets")}
    [(held,)] = harbour.rows(f"SELECT count(*) FROM ledger_queue WHERE {HELD}")
    most = max(budgets.values(), default=0)
    if held != max(0, len(budgets) - most):
        found.note("a budget let through another number", {"commands": len(budgets), "max": most, "held": held})
    found.compared.update({"commands with a budget": len(budgets), "held by the budget": held})
    if held:
        why = ("--reason", "the end of the run", "--by", "chaos")
        released = harbour.command("budgets", "release", SPREE, *why)
        if released.returncode:
            found.note("a budget was not released", released.stderr)
