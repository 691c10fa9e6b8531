"""Suppressions and their audit, as text and as JSON values."""

from dataclasses import asdict
from typing import Any

from cli.options import console
from senders.policy.suppressions import DeliveryFact, Suppression, SuppressionChange


def suppression_line(each: Suppression) -> str:
    """A suppression on one line."""
    about = [f"user {each.user_id}" if each.user_id else "", f"trigger {each.trigger}" if each.trigger else ""]
    about.append(f"command {each.command_id}" if each.command_id else "")
    about.append(f"until {each.expires_at:%Y-%m-%d %H:%M}" if each.expires_at else "")
    about.append(f"source {each.source}" if each.source else "")
    head = f"{each.since:%Y-%m-%d %H:%M:%S}  {each.scope:<12} {each.reason:<12}  address {each.address_hash.hex()[:12]}"
    return "  ".join(filter(None, [head, *about]))


def show(each: Suppression, facts: list[DeliveryFact]) -> None:
    """Prints a suppression and what is recorded of the command that caused it."""
    console.print(suppression_line(each), markup=False, soft_wrap=True, style="bold")
    for fact in facts:
        reply = " ".join(filter(None, [str(fact.code or ""), fact.enhanced, fact.reply]))
        named = f" ({fact.classification})" if fact.classification else ""
        text = f"  {fact.time:%Y-%m-%d %H:%M:%S}  {fact.kind}, purpose {fact.purpose}{named}"
        console.print(f"{text}: {reply}" if reply else text, markup=False, soft_wrap=True)
    if not facts:
        console.print("  there is no record of the command that caused it", style="dim")


def change_line(change: SuppressionChange) -> str:
    """A line of the audit."""
    did = "added" if change.action == "add" else "lifted"
    was = change.suppression
    before = f" (was {was['reason']} since {str(was['since'])[:19].replace('T', ' ')})" if was else ""
    return f"{change.at:%Y-%m-%d %H:%M:%S}  {did} in scope {change.scope} by {change.by}: {change.why}{before}"


def suppression_json(each: Suppression) -> dict[str, Any]:
    """A suppression as JSON values."""
    return asdict(each) | {"address_hash": each.address_hash.hex()}


def change_json(each: SuppressionChange) -> dict[str, Any]:
    """A line of the audit as JSON values."""
    return asdict(each) | {"address_hash": each.address_hash.hex()}


def audited_lift(each: SuppressionChange) -> tuple[str, dict[str, Any] | None, dict[str, Any]]:
    """The subject of a lift in the audit, and what was before and after it."""
    after = {"scope": each.scope, "reason": each.why, "suppression_audit": each.id}
    return f"address {each.address_hash.hex()}", each.suppression, after
