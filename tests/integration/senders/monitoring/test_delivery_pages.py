"""What a delivery worker shows of itself over HTTP, on real servers: pages, and metrics that agree with the ledger."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from drivers.free_ports import free_port
from drivers.pages import get, samples
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until
from drivers.whole_pipeline import new_topics

from infra.service.metrics import reference
from schemas.commands import SendCommand
from schemas.outcomes import Outcome
from schemas.profiles import Consent
from schemas.topics import COMMANDS, OUTCOMES, PROFILES
from schemas.vocabulary import LedgerState, OutcomeKind
from senders.monitoring.metrics import DEFINITIONS

pytestmark = pytest.mark.servers

SLOT = 3
PROGRAM = """
from infra.service.health import WorkerIdentity
from senders.app import main
from senders.settings import SenderSettings
main(SenderSettings(), WorkerIdentity({slot}, 2, {port}))
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    new_topics(servers.kafka)  # without commands of other tests, which would count too
    yield from harbour(servers.kafka, database_url, tmp_path, template_wait_s=600.0)  # longer than any test here


def ready(port: int) -> dict[str, Any]:
    answer = get(port, "/ready")
    return {} if answer is None else {"status": answer[0], **json.loads(answer[1])}


def wait_ready(delivery: Harbour, port: int) -> dict[str, Any]:
    delivery.start_process([sys.executable, "-c", PROGRAM.format(slot=SLOT, port=port)])
    return wait_until(lambda: (page := ready(port)).get("ready") and page, "delivery is ready") or {}


def counted(port: int) -> Counter[tuple[str, ...]]:
    """The samples by name and labels, without the prefix."""
    return Counter(
        {
            (sample.name.removeprefix("ebbtide_senders_"), *sorted(sample.labels.values())): sample.value
            for sample in samples(port)
        }
    )


def total(found: Counter[tuple[str, ...]], name: str) -> float:
    """Over all labels."""
    return sum(count for key, count in found.items() if key[0] == name)


def test_a_worker_answers_its_pages(delivery: Harbour, port: int) -> None:
    page = wait_ready(delivery, port)
    assert (page["status"], page["state"], page["reason"], page["slot"]) == (200, "ready", None, SLOT)
    assert page["partitions"] == list(range(have_topics(delivery.kafka)))
    health = get(port, "/health")
    assert health is not None
    assert (health[0], json.loads(health[1])["healthy"]) == (200, True)
    wait_until(lambda: json.loads(get(port, "/status")[1])["partitions"], "the backlog is measured")
    status = json.loads(get(port, "/status")[1])
    assert (status["restarts"], status["servers_away"], status["mails_in_flight"]) == (2, [], 0)
    assert status["version"]
    assert {"partition", "due", "waiting", "oldest_due_age_s", "outbox", "in_doubt", "view_age_s", "lag"} == set(
        status["partitions"][0]
    )
    age = ("recipients_view_age_seconds", "0")
    wait_until(lambda: age in (found := counted(port)) and found[age] < 5, "the age of the view is measured")
    wait_until(lambda: any(name == "lag_records" for name, *_ in counted(port)), "the lag is measured")
    documented = {row.split("`")[1] for row in reference(DEFINITIONS).splitlines()[2:]}
    labelled = {definition.name for definition in DEFINITIONS if definition.kind != "gauge" and definition.labels}
    shown = {sample.name for sample in samples(port)}
    assert shown <= documented
    of_what_is_not_there = ("oldest_due_age_seconds", "budget_waiting", "endpoint_suspended")
    unseen = labelled | {f"ebbtide_senders_{name}" for name in of_what_is_not_there}
    assert documented - unseen <= shown, "only counters, and gauges of what is not there, begin unseen"


def test_the_counters_agree_with_the_ledger(delivery: Harbour, port: int) -> None:
    wait_ready(delivery, port)
    template = delivery.publish_template()
    users = [delivery.publish_user() for _ in range(5)]
    greylisted = delivery.publish_user("451-1")
    silent = delivery.publish_user(consent={"marketing": Consent(granted=False, time="2026-01-01T00:00:00Z")})
    removed = delivery.publish_user()
    delivery.publish(PROFILES.name, removed, None)
    unknown_template = a_command(delivery.publish_user(), "0" * 64)  # of nobody who will complain
    commands = [a_command(user, template) for user in [*users, greylisted, silent, removed] for _ in range(3)]
    for command in [*commands, unknown_template]:
        delivery.publish(COMMANDS.name, command.user_id, command)
    delivery.publish(COMMANDS.name, users[0], b"{not json")
    for command in commands:
        delivery.wait_for(command, LedgerState.ACCEPTED, LedgerState.SUPPRESSED, LedgerState.REFUSED)
    wait_until(lambda: counted(port)["commands_postponed_total", "template_missing"], "the unknown template is awaited")

    made = delivery.rows("SELECT sum(attempt) FROM ledger")[0][0]

    def all_counted() -> Counter[tuple[str, ...]] | None:
        """A worker counts what the ledger has already, and the record that is no command may come last."""
        found = counted(port)
        so_far = [total(found, name) for name in ("commands_settled_total", "attempts_total", "mail_answers_total")]
        told = all(count >= least for count, least in zip(so_far, (len(commands), made, made), strict=True))
        return found if told and found["dead_letters_total", "not_json"] else None

    found = wait_until(all_counted, "all is counted")
    assert found is not None
    rows = delivery.rows("SELECT state, coalesce(reason, ''), count(*) FROM ledger GROUP BY 1, 2")
    ledger = Counter({(state, reason): count for state, reason, count in rows})
    terminal = {key: count for key, count in ledger.items() if LedgerState(key[0]).terminal}
    for (state, reason), count in terminal.items():
        assert found[("commands_settled_total", *sorted((state, reason)))] == count, (state, reason)
    assert total(found, "commands_settled_total") == sum(terminal.values()) == len(commands)
    assert found["commands_admitted_total",] == sum(ledger.values()) == len(commands) + 1
    assert found[("attempts_total", *sorted(("accepted", "")))] == ledger["accepted", ""]
    assert total(found, "attempts_total") == total(found, "mail_answers_total") == made
    assert found["dead_letters_total", "not_json"] == 1
    way = {"provider": "other", "purpose": "marketing"}
    assert found[("mail_answers_total", *sorted(("accepted", *way.values())))] == ledger["accepted", ""]
    assert found[("accepted_seconds_count", *sorted(way.values()))] == ledger["accepted", ""]
    begun = delivery.rows("SELECT count(*) FROM ledger WHERE attempt > 0")[0][0]
    assert found[("first_attempt_seconds_count", *sorted(way.values()))] == begun
    complain(delivery, next(command for command in commands if delivery.state(command.id) == LedgerState.ACCEPTED))
    complaint = ("mail_reports_total", *sorted(("complained", *way.values())))
    wait_until(lambda: counted(port)[complaint] == 1, "the complaint is counted")
    wait_until(lambda: counted(port)["commands_waiting", str(partition_of(delivery, unknown_template.id))], "it waits")
    wait_until(lambda: sum(n for k, n in counted(port).items() if k[0] == "lag_records") == 0, "no reader is behind")


def complain(delivery: Harbour, command: SendCommand) -> None:
    facts = {"command_id": command.id, "user_id": command.user_id, "kind": OutcomeKind.COMPLAINED}
    outcome = Outcome(id=f"complaint-{command.id}", time=datetime.now(UTC), **facts)
    delivery.publish(OUTCOMES.name, command.user_id, outcome)


def partition_of(delivery: Harbour, command_id: str) -> int:
    return int(delivery.rows("SELECT partition FROM ledger WHERE command_id = %s", command_id)[0][0])


def test_a_worker_whose_mail_server_is_away_is_not_ready_and_says_why(delivery: Harbour, port: int) -> None:
    wait_ready(delivery, port)
    delivery.sink.stop()
    command = a_command(delivery.publish_user(), delivery.publish_template())
    delivery.publish(COMMANDS.name, command.user_id, command)
    wait_until(lambda: ready(port).get("state") == "waiting", "it waits")
    page = ready(port)
    assert (page["status"], page["reason"]) == (503, "waits for relay")
    assert get(port, "/health")[0] == 200, "a restart would not help"
    assert counted(port)["server_away", "relay"] == 1
    assert counted(port)["ready",] == 0
    delivery.sink.start()
    delivery.wait_for(command, LedgerState.ACCEPTED)
    wait_until(lambda: ready(port).get("ready"), "it is ready again")
