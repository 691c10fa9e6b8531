"""A send and its results: its gates checked, its decision and command written, its goal counted later."""

import hashlib
from typing import Any

import orjson
from slow_model import sends
from slow_model.expressions import Failed, value
from slow_model.localtime import known_zone, zone_of
from slow_model.past import CountedSend, Seen, instant
from slow_model.present import Occurrence, Present, Roots, agree, is_true, matches, roots
from slow_model.rulebook import Rule, Send


def send(me: Present, rule: Rule, occurrence: Occurrence, step: Send) -> bool:
    """Decides a send; whether the journey goes on."""
    moment_ms = max(occurrence.due_ms, me.now_ms - (0 if occurrence.held else rule.settle_ms))
    identity = orjson.dumps([rule.name, me.user_id, occurrence.id, step.id])
    command_id = hashlib.blake2b(identity, digest_size=16).hexdigest()
    given = roots(me, occurrence.event, moment_ms, occurrence)
    question = sends.Question(
        rule,
        me.user_id,
        command_id,
        occurrence.key_text,
        occurrence.due_ms,
        me.now_ms,
        me.paused,
        is_true(occurrence.pinned.when, given),
        _maxima(rule, given),
        occurrence.unknown_ms,
        step.template if step.channel == "webhook" else None,
    )
    verdict = sends.ask(question, me.past)
    data: dict[str, Any] = {}
    path = None
    if verdict.kind in ("send", "shadow", "held_out"):
        for name, text in step.data.items():
            try:
                data[name] = value(text, given)
            except Failed:
                verdict.kind, verdict.reason, path = "drop", "invalid_data", f"data.{name}"
                break
    note(me, rule, occurrence, step, command_id, verdict, path)
    if verdict.kind == "defer":
        assert verdict.until is not None
        occurrence.wake_ms, occurrence.held = verdict.until, True
        first_ms = me.now_ms if occurrence.unknown_ms is None else occurrence.unknown_ms
        occurrence.unknown_ms = first_ms if verdict.reason == "profile_unknown" else None
        return False
    if verdict.kind != "drop":
        _count(me, rule, occurrence, step, command_id, verdict.kind)
    if verdict.kind == "send":
        _command(me, rule, occurrence, step, command_id, data)
    occurrence.due_ms, occurrence.held, occurrence.unknown_ms = moment_ms, False, None
    return True


def _maxima(rule: Rule, given: Roots) -> tuple[int, ...] | None:
    try:
        return tuple(int(value(cap.max, given)) for cap in rule.caps)
    except Failed:
        return None


def _count(me: Present, rule: Rule, occurrence: Occurrence, step: Send, command_id: str, kind: str) -> None:
    me.past.sent.append(
        CountedSend(
            len(me.past.sent),
            command_id,
            me.now_ms,
            kind,
            rule.name,
            occurrence.key_text,
            rule.purpose,
            rule.brand,
            rule.consent,
            occurrence.id,
            step.id,
            occurrence.event,
            step.channel == "webhook",
        )
    )


def note(
    me: Present,
    rule: Rule,
    occurrence: Occurrence,
    step: Send,
    command_id: str,
    verdict: sends.Verdict,
    path: str | None,
) -> None:
    """Writes a decision."""
    zone = me.past.zone()
    inputs: dict[str, Any] = {"due": instant(occurrence.due_ms), "zone": zone_of(zone).key}
    if known_zone(zone) is None:
        inputs["zone_given"] = zone or ""
    if occurrence.variant is not None:
        inputs["variant"] = occurrence.variant
    if step.channel == "webhook":
        inputs["endpoint"] = step.template
    if verdict.cause is not None:
        inputs["cause"] = verdict.cause
    if path is not None:
        inputs["path"] = path
    began = [] if occurrence.began == occurrence.event.id else [occurrence.began]
    met = [] if occurrence.matched is None else [occurrence.matched.id]
    what = [rule.name, me.user_id, occurrence.id, step.id, verdict.kind, verdict.reason, me.now_ms]
    me.written.decisions.append(
        {
            "id": hashlib.blake2b(orjson.dumps(what), digest_size=16).hexdigest(),
            "trigger": rule.name,
            "rule_hash": occurrence.pinned.hash,
            "user_id": me.user_id,
            "occurrence": occurrence.id,
            "step": step.id,
            "outcome": verdict.kind,
            "reason": verdict.reason,
            "gates": verdict.answers,
            "event_ids": [*began, occurrence.event.id, *met],
            "inputs": inputs,
            "decided_at": instant(me.now_ms),
            "command_id": command_id if verdict.kind == "send" else None,
            "until": None if verdict.until is None else instant(verdict.until),
        }
    )


def _command(
    me: Present, rule: Rule, occurrence: Occurrence, step: Send, command_id: str, data: dict[str, Any]
) -> None:
    me.written.commands.append(
        {
            "id": command_id,
            "trigger": rule.name,
            "rule_hash": occurrence.pinned.hash,
            "occurrence": occurrence.id,
            "step": step.id,
            "user_id": me.user_id,
            "channel": step.channel,
            "template": step.template,
            "template_hash": step.template_hash,
            "variant": occurrence.variant,
            "brand": rule.brand,
            "purpose": rule.consent,
            "data": data,
            "decided_at": instant(me.now_ms),
            "expires_at": instant(occurrence.due_ms + rule.expires_ms),
            "priority": rule.priority,
            "budgets": list(rule.budgets) if step.channel == "email" else None,
        }
    )


def reach_goals(me: Present, event: Seen) -> None:
    """Counts the event for each send or holdout, once, whose goal it is: later than the send, and within its time."""
    for sent in me.past.sent:
        rule = me.book.rules.get(sent.trigger)
        if rule is None or rule.goal is None or sent.kind == "shadow" or sent.number in me.past.goals_reached:
            continue
        if sent.webhook:
            continue
        goal = rule.goal
        in_time = sent.at_ms < event.time_ms <= sent.at_ms + goal.within_ms
        if in_time and matches(me, goal.pattern, event) and agree(goal.pattern.same, event, sent.entry):
            me.past.goals_reached.add(sent.number)
            _goal(me, rule, sent, event)


def _goal(me: Present, rule: Rule, sent: CountedSend, event: Seen) -> None:
    what = [rule.name, me.user_id, sent.occurrence, sent.step, "goal", event.id, me.now_ms]
    me.written.decisions.append(
        {
            "id": hashlib.blake2b(orjson.dumps(what), digest_size=16).hexdigest(),
            "trigger": rule.name,
            "rule_hash": rule.hash,
            "user_id": me.user_id,
            "occurrence": sent.occurrence,
            "step": sent.step,
            "outcome": "goal",
            "reason": None,
            "gates": [],
            "event_ids": [event.id],
            "inputs": {"sent_at": instant(sent.at_ms), "held_out": sent.kind == "held_out"},
            "decided_at": instant(me.now_ms),
            "command_id": sent.command_id if sent.kind == "send" else None,
            "until": None,
        }
    )
