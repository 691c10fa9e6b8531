"""Edited rules: running occurrences keep their first text; modes, policies and consent are the current ones."""

import pytest
from drivers.trigger_world import TEMPLATES, World, rules
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rules import text_hash
from triggers.language.diagnostics import SourceFile
from triggers.loader import pinned_triggers

HEAD = "trigger: t\npurpose: marketing\non: ping\n"
OLD = HEAD + "unless: stop\nwhen: event.n > 0\nsteps: [{send: a}, {wait: 2h}, {send: b}]\n"
NEW = HEAD + "unless: halt\nwhen: event.n > 5\nsteps: [{send: c}, {wait: 1h}, {send: d}]\n"


def edited(new: str = NEW, *earlier: str) -> World:
    """A world in which something began by the old text, which was replaced an hour later."""
    world = World(OLD)
    world.event("2026-01-05 10:00", "ping", n=1)
    world.edit("2026-01-05 11:00", new, *(earlier or (OLD,)))
    return world


def test_12_a_running_occurrence_keeps_its_steps_its_delay_and_its_condition() -> None:
    world = edited()
    world.until("2026-01-06 00:00")
    assert world.sent == [("2026-01-05 10:00:00", "t", "a"), ("2026-01-05 12:00:00", "t", "b")]
    assert {decision.rule_hash for decision in world.decisions} == {text_hash(OLD)}


def test_occurrences_that_begin_after_the_edit_follow_the_new_text() -> None:
    world = edited()
    world.event("2026-01-05 11:00", "ping", n=7)
    world.until("2026-01-05 11:30")
    assert world.sent[1:] == [("2026-01-05 11:00:00", "t", "c")]
    assert world.decisions[-1].rule_hash == text_hash(NEW)


@pytest.mark.parametrize(("event", "ended"), [("stop", True), ("halt", False)])
def test_a_running_occurrence_keeps_its_unless_though_no_current_rule_reads_that_event(event: str, ended: bool) -> None:
    world = edited()
    world.event("2026-01-05 11:30", event)
    world.until("2026-01-06 00:00")
    assert (len(world.sent) == 1) is ended


def test_12_mode_caps_and_consent_are_the_current_ones() -> None:
    world = edited(NEW + "mode: off\n")
    world.until("2026-01-06 00:00")
    assert world.decided[1:] == [("2026-01-05 12:00:00", "drop mode")]
    world = edited(NEW + "cap: {max: 1, per: 1d}\n")
    world.until("2026-01-06 00:00")
    assert world.decided[1:] == [("2026-01-05 12:00:00", "drop cap")]
    world = edited()
    world.profile("2026-01-05 11:30", consent=())
    world.until("2026-01-06 00:00")
    assert world.decided[1:] == [("2026-01-05 12:00:00", "drop no_consent")]


def test_12_a_rule_that_is_removed_ends_with_withdrawn_and_sends_nothing() -> None:
    other = "trigger: other\npurpose: marketing\non: pong\nsend: a\n"
    world = edited(other)
    world.until("2026-01-06 00:00")
    assert world.decided[1:] == [("2026-01-05 12:00:00", "drop withdrawn")]
    assert (world.decisions[-1].trigger, world.decisions[-1].step) == ("t", "b")
    assert world.state.running == []


def test_12_a_removed_rule_whose_text_is_gone_ends_and_is_counted() -> None:
    other = "trigger: other\npurpose: marketing\non: pong\nsend: a\n"
    world = edited(other, other)
    world.until("2026-01-06 00:00")
    assert (len(world.decided), world.counts, world.state.running) == (1, {"withdrawn": 1}, [])


def test_a_restored_rule_continues_with_waiting_occurrences() -> None:
    world = edited("trigger: other\npurpose: marketing\non: pong\nsend: a\n")
    world.edit("2026-01-05 11:30", NEW, OLD)
    world.until("2026-01-06 00:00")
    assert world.sent[1:] == [("2026-01-05 12:00:00", "t", "b")]


def test_without_its_text_an_occurrence_follows_the_current_rule_and_is_counted_once() -> None:
    world = edited(NEW.replace("n > 5", "n > 0"), NEW)
    world.until("2026-01-06 00:00")
    assert world.counts == {"unpinned": 1}
    assert world.sent[1:] == [("2026-01-05 12:00:00", "t", "d")]


def test_a_restart_begins_again_with_the_current_text() -> None:
    world = World(OLD + "key: user.id\n")
    world.event("2026-01-05 10:00", "ping", n=7)
    world.edit("2026-01-05 11:00", NEW + "key: user.id\n", OLD + "key: user.id\n")
    world.event("2026-01-05 11:30", "ping", n=7)
    world.until("2026-01-06 00:00")
    assert [(moment[11:16], step) for moment, _, step in world.sent] == [("10:00", "a"), ("11:30", "c"), ("12:30", "d")]


def test_a_wait_for_a_timestamp_of_the_old_text_follows_the_profile() -> None:
    old = HEAD + "steps: [{wait: {until: timestamp(user.x)}}, {send: b}]\n"
    world = World(old, x="2026-02-01T00:00:00Z")
    world.event("2026-01-05 10:00", "ping", n=1)
    world.edit("2026-01-05 11:00", NEW, old)
    world.profile("2026-01-06 00:00", x="2026-01-07T00:00:00Z")
    world.until("2026-02-02 00:00")
    assert world.sent == [("2026-01-07 00:00:00", "t", "b")]


def test_a_wait_that_the_current_rule_lacks_does_not_change_without_its_text() -> None:
    world = World(
        HEAD + "steps: [{send: a}, {wait: {until: timestamp(user.x)}}, {send: b}]\n", x="2026-02-01T00:00:00Z"
    )
    world.event("2026-01-05 10:00", "ping", n=1)
    world.edit("2026-01-05 11:00", HEAD + "send: c\n", NEW)
    world.profile("2026-01-06 00:00", x="2026-01-07T00:00:00Z")
    world.until("2026-02-02 00:00")
    assert (len(world.sent), world.counts, world.state.running) == (1, {"unpinned": 1}, [])


def test_an_old_text_s_score_that_is_gone_is_an_error_of_its_condition() -> None:
    score = "score: s\ndecay: {curve: step, lifetime: 1d}\nadd: {event: ping, points: 1}\n---\n"
    old = score + HEAD + "when: score.s >= 1\nsteps: [{wait: 1h}, {send: a}]\n"
    world = World(old)
    world.event("2026-01-05 10:00", "ping", n=1)
    world.edit("2026-01-05 10:30", NEW, old)
    world.until("2026-01-06 00:00")
    assert world.decided == [("2026-01-05 11:00:00", "drop condition")]
    assert [(p.trigger, p.place) for p in world.problems] == [("t", "when")]


def test_texts_that_do_not_load_or_whose_template_is_gone_are_left_out() -> None:
    gone = OLD.replace("send: b", "send: gone")
    found = pinned_triggers([SourceFile("x", text) for text in (OLD, "trigger: [", gone)], TEMPLATES)
    assert list(found) == [(text_hash(OLD), "t")]


def test_pin_is_what_is_not_written() -> None:
    assert not rules(NEW).triggers["t"].follows
    assert not rules(NEW + "on_edit: pin\n").triggers["t"].follows


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["edit", "ping", "stop", "halt"]), max_size=12))
def test_edits_never_change_what_an_occurrence_sends(happenings: list[str]) -> None:
    """Each occurrence sends both steps of the text that it began with, unless the `unless` event of that text came."""
    world, texts, minute = World(OLD), [OLD, NEW], 0
    began: list[tuple[int, str]] = []
    stopped: dict[str, list[int]] = {OLD: [], NEW: []}
    for happening in happenings:
        minute += 7
        moment = f"2026-01-05 {10 + minute // 60}:{minute % 60:02d}"
        if happening == "edit":
            texts.reverse()
            world.edit(moment, texts[0], texts[1])
            continue
        world.event(moment, happening, n=9)
        if happening == "ping":
            began.append((minute, texts[0]))
        else:
            stopped[OLD if happening == "stop" else NEW].append(minute)
    world.until("2026-01-06 00:00")
    wanted = []
    for minute, text in began:
        first, second, wait = ("a", "b", 120) if text == OLD else ("c", "d", 60)
        wanted.append((minute, first))
        if not any(minute <= stop <= minute + wait for stop in stopped[text]):
            wanted.append((minute + wait, second))
    sent = [((d.decided_at.hour - 10) * 60 + d.decided_at.minute, d.step) for d in world.decisions]
    assert sorted(sent) == sorted(wanted)
    assert world.counts == {}
