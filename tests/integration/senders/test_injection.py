"""Any exception at any call that handles one record or one mail is that one's outcome, and all others get through.

The calls are not listed here: `injection` finds them in the code, and a first process says which of them have a record
or a mail in scope. Then each of them raises for items of its own, all in one second process.
"""

import json
import random
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from drivers import injection
from drivers.injection import EXCEPTIONS, OF_A_SERVER, command_of, user_of
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, Tail, a_command, harbour, have_topics, wait_until

from infra.kafka.progress import Progress
from schemas.codec import decode
from schemas.deadletters import DeadLetter
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.profiles import Consent, Profile
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, OUTCOMES, PROFILES
from schemas.vocabulary import DecisionOutcome, LedgerState, OutcomeKind
from senders.policy.recipients import FEEDS

pytestmark = pytest.mark.servers

Plan = dict[int, tuple[str, str]]
GOOD = 20
SAMPLE = 120
"""Faults that `make test` raises; `make test-all` raises each exception at each call."""
KINDS = {
    "stranger": "SELECT count(*) FROM ledger WHERE command_id = %s AND state = 'suppressed'",
    "mail": "SELECT count(*) FROM deliveries WHERE command_id = %s",
    "complaint": "SELECT count(*) FROM engagement WHERE %s <> ''",
}
"""Kinds of items, each with the question whether one was dealt with to its end: a command to a user without a
profile, which waits for the view and then is dropped; a mail; a mail whose reader complained."""
REACHED = 0.9
"""The share of the faults that must be raised."""
HELD_BACK_S = 10.0
"""How long the view is held back at most: a stranger that raises is written down as nothing."""
WAVE = 200
UNKNOWN = "unknown-"
"""Before the id of a mail of which the ledger knows nothing: a complaint about it is one about the user's address."""
NOTICED = {"failed", "deferred", "in_doubt", "refused"}
WAITING = {"pipeline.view_fresh", "pipeline._once_conclusive", "pipeline._delay"}
"""Calls that a command meets only while the view is behind. If one raises there, the command is tried alone; the view
may have caught up by then, so that the command does not meet the call again and has its normal answer."""
ONCE_A_SECOND = {"erasures.among"}
"""Calls that a batch of facts meets at most once a second. If one raises there, each is recorded alone, without."""
EXPECTED = {("recipients._plain", "ValueError"), ("recipients._plain", "UnicodeEncodeError")}
"""What a function itself expects of a call, without a loss: an address that has no ASCII form stays as it is."""
SAID = {
    "command_timed_out",
    "command_set_aside",
    "ledger_row_refused",
    "outcome_not_published",
    "outcome_not_marked",
    "mail_failed",
    "session_not_closed",
    "suppression_without_address",
}


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    start_view_at_the_ends(servers.kafka, database_url)
    yield from harbour(servers.kafka, database_url, tmp_path)


def start_view_at_the_ends(kafka: str, database_url: str) -> None:
    """Lets the view of this database begin behind the records of earlier runs, which it would read slowly here."""
    with Progress(kafka) as progress:
        ends = [(topic, at, end) for topic in FEEDS for at, end in progress.ends(topic).high.items()]
    columns = "(topic, partition, next_offset, as_of)"
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO recipients_progress {columns} VALUES (%s, %s, %s, to_timestamp(0))", ends)


def start(delivery: Harbour, name: str, plan: Plan) -> Path:
    file = delivery.directory / f"{name}.json"
    file.write_text(json.dumps(plan))
    delivery.start_process([sys.executable, injection.__file__, str(file)])
    return file.with_suffix(".report")


def publish(delivery: Harbour, template: str, number: int, kind: str) -> None:
    """What one of KINDS has on the topics, all marked with the number."""
    user, now = user_of(number), datetime.now(UTC)
    consent = {"marketing": Consent(granted=True, time=now)}
    if kind != "stranger":
        profile = Profile(user_id=user, address=f"{user}@example.net", consent=consent)
        delivery.publish_soon(PROFILES.name, user, profile)
    delivery.publish_soon(COMMANDS.name, user, a_command(user, template, id=command_of(number)))
    facts: dict[str, Any] = {"trigger": "t", "rule_hash": "", "occurrence": "", "step": "s", "user_id": user}
    decision = Decision(id=user, outcome=DecisionOutcome.SEND, decided_at=now, **facts)
    delivery.publish_soon(DECISIONS.name, user, decision)
    if kind == "complaint":
        about = UNKNOWN + command_of(number)
        fact = Outcome(id=user, command_id=about, user_id=user, kind=OutcomeKind.COMPLAINED, time=now)
        delivery.publish_soon(OUTCOMES.name, user, fact)


@contextmanager
def view_held_back(delivery: Harbour) -> Iterator[None]:
    """Keeps the recipients view from advancing, so that a command to a stranger waits at least once."""
    with psycopg.connect(delivery.database_url) as connection:
        connection.execute("LOCK TABLE recipients_progress IN SHARE MODE")  # readers go on
        yield


def looked_at(delivery: Harbour, numbers: Collection[int], report: Path) -> bool:
    """Whether each of these commands has raised, waits with a reason or has its answer."""
    left = {command_of(number) for number in numbers if str(number) not in reported(report, "raised")}
    seen = "SELECT count(*) FROM ledger WHERE command_id = ANY(%s) AND (state <> 'admitted' OR reason IS NOT NULL)"
    return not left or delivery.rows(seen, sorted(left))[0][0] == len(left)


def reported(report: Path, what: str) -> set[str]:
    lines = report.read_text().splitlines() if report.exists() else []
    return {rest for word, _, rest in (line.partition(" ") for line in lines) if word == what}


def sites(delivery: Harbour, template: str, first: int) -> dict[str, str]:
    """The calls that have a record or a mail in scope, as a process without faults finds them, each with the kind of
    item that came there first: only such an item can be relied upon to come there again."""
    watched = dict.fromkeys(range(first, first + len(KINDS)), ("", ""))
    report, found = start(delivery, "discovery", watched), dict[str, str]()
    before = a_command(delivery.publish_user(), template)  # an item waits where the view is not fresh yet
    delivery.publish(COMMANDS.name, before.user_id, before)
    delivery.wait_for(before, LedgerState.ACCEPTED)
    for number, (kind, is_done) in enumerate(KINDS.items(), first):
        with view_held_back(delivery):
            publish(delivery, template, number, kind)
            delivery.flush()
            if kind == "stranger":
                wait_until(partial(looked_at, delivery, [number], report), "the stranger's command waits")
        question = partial(delivery.rows, is_done, command_of(number))
        wait_until(lambda ask=question: ask()[0][0], f"a {kind} is done")
        found |= dict.fromkeys(reported(report, "seen") - found.keys(), kind)
    assert delivery.end_process(signal.SIGTERM) == 0
    return dict(sorted(found.items()))


def planned(found: list[str], each: int, first: int, chance: random.Random) -> Plan:
    """Faults numbered from `first`: `each` exceptions a site, and over all sites each exception in its turn."""
    names = sorted(EXCEPTIONS)
    chance.shuffle(names)
    faults = [(site, names[(index + turn) % len(names)]) for turn in range(each) for index, site in enumerate(found)]
    if each == 1:
        faults = chance.sample(faults, SAMPLE)
    return {first + index: fault for index, fault in enumerate(faults)}


def in_waves(plan: Plan) -> Iterator[Plan]:
    """The plan in parts: a view that is thousands of profiles behind would hold up the mails that come with it."""
    numbers = list(plan)
    for begin in range(0, len(numbers), WAVE):
        yield {number: plan[number] for number in numbers[begin : begin + WAVE]}


def publish_wave(delivery: Harbour, template: str, wave: Plan, kinds: Mapping[str, str]) -> list[str]:
    """What the faults are raised for, and among it, evenly, commands without a fault, whose ids are returned."""
    good = []
    for index, (number, (site, _)) in enumerate(wave.items()):
        publish(delivery, template, number, kinds[site])
        if index % (WAVE // GOOD) == 0:
            user = delivery.publish_user()
            good.append(a_command(user, template))
            delivery.publish_soon(COMMANDS.name, user, good[-1])
    delivery.flush()
    return [command.id for command in good]


def log_of(delivery: Harbour) -> list[dict[str, Any]]:
    lines = (delivery.directory / "senders.log").read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def unnoticed(
    delivery: Harbour, letters: Tail, raised: Mapping[int, tuple[str, str]], repeated: set[str]
) -> dict[int, tuple[str, str]]:
    """The faults of which neither a dead letter nor the ledger nor the log says anything. `repeated` are the numbers of
    those that were raised more than once."""
    put_aside = {(decode(DeadLetter, value).original_key() or b"").decode() for value in letters.read()}
    rows = delivery.rows("SELECT command_id, state, reason FROM ledger")
    noticed = {id_ for id_, state, reason in rows if state in NOTICED or reason == "delivery_error"}
    settled = {id_ for id_, state, _ in rows if LedgerState(state).terminal}
    logged = {line.get("command_id", "").removeprefix(UNKNOWN) for line in log_of(delivery) if line["event"] in SAID}

    def is_over(number: int, function: str) -> bool:
        once = function in WAITING and str(number) not in repeated
        return (once or function in ONCE_A_SECOND) and command_of(number) in settled

    return {
        number: fault
        for number, fault in raised.items()
        if fault[1] not in OF_A_SERVER
        and ((function := fault[0].partition(":")[0]), fault[1]) not in EXPECTED
        and not is_over(number, function)
        and user_of(number) not in put_aside
        and command_of(number) not in noticed | logged
    }


def unanswered(delivery: Harbour, plan: Plan) -> dict[int, tuple[str, str]]:
    """The faults whose command has neither an answer nor a reason to wait, and was not left alone."""
    query = "SELECT command_id FROM ledger WHERE state = 'started' OR (state = 'admitted' AND reason IS NULL)"
    left = {line.get("command_id") for line in log_of(delivery) if line["event"] in SAID}
    waiting = {id_ for (id_,) in delivery.rows(query)} - left
    return {number: fault for number, fault in plan.items() if command_of(number) in waiting}


@pytest.mark.parametrize("each", [1, pytest.param(len(EXCEPTIONS), marks=pytest.mark.slow)])
def test_any_exception_at_any_call_is_the_outcome_of_that_record_or_mail(
    delivery: Harbour, each: int, seed: int
) -> None:
    template = delivery.publish_template()
    first = random.randrange(10**9) * 10**5  # other runs left theirs on the topics
    found = sites(delivery, template, first)
    assert len(found) > 100, found
    plan = planned([*found], each, first + len(KINDS), random.Random(seed))
    letters = Tail(delivery.kafka, DEAD_LETTERS.name)
    report = start(delivery, "faults", plan)
    accepted = "SELECT count(*) FROM ledger WHERE state = 'accepted' AND command_id = ANY(%s)"
    for wave in in_waves(plan):
        strangers = [number for number, (site, _) in wave.items() if found[site] == "stranger"]
        with view_held_back(delivery):
            good = publish_wave(delivery, template, wave, found)
            with suppress(AssertionError):  # REACHED says whether it was enough
                wait_until(partial(looked_at, delivery, strangers, report), "strangers' commands wait", HELD_BACK_S)
        wait_until(
            lambda ids=good: not delivery.process_runs or delivery.rows(accepted, ids)[0][0] == len(ids),
            f"the good mails among the faults {min(wave)} to {max(wave)}",
        )
        assert delivery.process_runs, f"ended: {log_of(delivery)[-1]}"
    reached = REACHED * len(plan)
    wait_until(lambda: len(reported(report, "raised")) >= reached, "the faults are raised")
    open_ = partial(unanswered, delivery, plan)
    with suppress(AssertionError):  # the next line says more
        wait_until(lambda: not open_(), "everybody has an answer")
    assert open_() == {}

    def missed() -> Plan:
        raised = {int(number): plan[int(number)] for number in reported(report, "raised")}
        return unnoticed(delivery, letters, raised, reported(report, "again"))

    with suppress(AssertionError):  # one that raised among others may wait for the view before it is tried alone
        wait_until(lambda: not missed(), "each fault is noticed")
    assert delivery.end_process(signal.SIGTERM) == 0, (delivery.directory / "senders.log").read_text()[-3000:]
    assert missed() == {}
    letters.close()
