"""Facts of erased people, kept for their counts alone. Pure."""

from typing import Any

from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.people import NOBODY

COUNTED_INPUTS = ("variant", "sent_at", "held_out")
"""What rollups read of the inputs of a decision."""


def without_person(fact: Decision | Outcome) -> Decision | Outcome:
    """The fact under nobody, without what points to the person."""
    changes: dict[str, Any] = {"user_id": NOBODY}
    if isinstance(fact, Decision):
        inputs = {name: fact.inputs[name] for name in COUNTED_INPUTS if name in fact.inputs}
        changes |= {"occurrence": "", "event_ids": [], "gates": [], "inputs": inputs}
    else:
        reply = fact.reply and fact.reply.model_copy(update={"text": ""})
        changes |= {"reply": reply, "url": None}
    return fact.model_copy(update=changes)
