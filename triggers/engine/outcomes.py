"""What a delivery outcome changes in a user's state: reservations, suppression and consent. It is an event too."""

from schemas.endpoints import WEBHOOK
from schemas.outcomes import Outcome
from schemas.vocabulary import NEVER_ACCEPTED, OutcomeKind
from triggers.cel.runtime import as_ms
from triggers.engine.caps import release
from triggers.engine.evaluation import Evaluation
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Send
from triggers.rules.state import Reservation, StoredConsent, UserState


def reservation_of(state: UserState, outcome: Outcome) -> Reservation | None:
    """The reservation of the outcome's command; None if it is no longer remembered."""
    return next((each for each in state.reservations if each.command_id == outcome.command_id), None)


def outcome_event(outcome: Outcome, reservation: Reservation | None) -> StoredEvent:
    """The outcome as the event `CHANNEL.KIND`, with properties trigger, step, occurrence, url and machine.

    Without a reservation the event names no rule. A webhook has none: its outcome says the rule and the step.
    """
    properties: dict[str, object] = {"machine": outcome.machine}
    if reservation is not None:
        properties |= {
            "trigger": reservation.trigger,
            "step": reservation.step,
            "occurrence": reservation.occurrence,
        }
    elif outcome.channel == WEBHOOK:
        properties |= {"trigger": outcome.trigger, "step": outcome.step}
    if outcome.url is not None:
        properties["url"] = outcome.url
    channel = reservation.channel if reservation is not None else outcome.channel
    return StoredEvent(outcome.id, f"{channel}.{outcome.kind.value}", as_ms(outcome.time), outcome.provider, properties)


def apply_suppression(evaluation: Evaluation, outcome: Outcome, reservation: Reservation | None) -> None:
    """Updates reservations, suppression and consent."""
    state = evaluation.state
    if outcome.kind in NEVER_ACCEPTED:
        release(evaluation, outcome.command_id)
    if outcome.kind is OutcomeKind.COMPLAINED or outcome.is_hard:
        state.suppressed = state.suppressed or _is_about_current_address(evaluation, reservation)
    elif outcome.kind is OutcomeKind.REINSTATED:
        state.suppressed = False
    elif outcome.kind is OutcomeKind.UNSUBSCRIBED:
        purpose = outcome.purpose if reservation is None else reservation.purpose
        # An unknown purpose: the user refuses all.
        purposes = [name for name, each in state.consent.items() if each.granted] if purpose is None else [purpose]
        state.consent |= dict.fromkeys(purposes, StoredConsent(False, as_ms(outcome.time)))


def _is_about_current_address(evaluation: Evaluation, reservation: Reservation | None) -> bool:
    """Whether the mail went to the profile's current address, and not to an earlier one or to one from the rule's `to`.

    Without a reservation that is unknown and counts as true. Delivery knows each command's address and withholds by it.
    """
    if reservation is None:
        return True
    rule = evaluation.rules.triggers.get(reservation.trigger)
    steps = rule.steps if rule is not None else ()
    elsewhere = any(isinstance(step, Send) and step.id == reservation.step and step.to is not None for step in steps)
    return not elsewhere and reservation.at >= evaluation.state.address_since
