"""The demo's shaping file and the script of its sink agree: the block in one is what the rule in the other is for."""

from pathlib import Path

import pytest

from cli.demo.block import NO_BLOCK, SHAPING, SINK_SCRIPT, read_blocking
from cli.demo.crowd import ELSEWHERE, GONE, GREYLISTED, NORTHMAIL
from infra.local.name_server import MAIL_SERVER
from infra.local.sink_answers import AnswerBook, SinkAnswer
from infra.local.sink_script import read_script
from senders.bounces.classifier import load_classifier
from senders.bounces.refusal import Refusal, Stage
from senders.shaping.automation import ReplyWatch, SeenReply
from senders.shaping.document import ActionKind, SmtpState
from senders.shaping.loader import inspect, load
from senders.shaping.resolution import resolve
from senders.shaping.sites import Destination
from senders.shaping.ways import TrafficKind

BLOCKING, NAMES = read_blocking()


def answered(directory: Path, source: str, to: str) -> SinkAnswer | None:
    """What the sink of this directory answers to RCPT."""
    book = AnswerBook(read_script(SINK_SCRIPT), directory)
    return book.at_recipient(book.provider(to), source, "hello@shop.example", to, 1.0)


def test_the_shaping_file_has_no_finding():
    assert inspect(SHAPING.read_bytes(), str(SHAPING))[1] == []


def test_the_sink_blocks_one_source_at_one_provider_while_the_act_lasts(tmp_path: Path):
    blocked = answered(tmp_path, BLOCKING.blocked, f"ann@{NORTHMAIL}")
    assert blocked is not None
    assert blocked.text.startswith("550 5.7.1")
    assert answered(tmp_path, BLOCKING.other, f"ann@{NORTHMAIL}") is None
    assert answered(tmp_path, BLOCKING.blocked, f"ann@{ELSEWHERE}") is None
    (tmp_path / NO_BLOCK).touch()
    assert answered(tmp_path, BLOCKING.blocked, f"ann@{NORTHMAIL}") is None


@pytest.mark.parametrize(("mailbox", "code"), [(GREYLISTED, "451"), (GONE, "550")])
def test_the_sink_defers_and_refuses_the_mailboxes_of_the_crowd(tmp_path: Path, mailbox: str, code: str):
    found = answered(tmp_path, BLOCKING.other, f"{mailbox}+customer-00001@{ELSEWHERE}")
    assert found is not None
    assert found.text.startswith(code)


def test_the_block_suspends_the_source_at_the_provider_and_makes_the_mail_wait(tmp_path: Path):
    blocked = answered(tmp_path, BLOCKING.blocked, f"ann@{NORTHMAIL}")
    assert blocked is not None
    destination = Destination(NORTHMAIL, frozenset({f"{MAIL_SERVER.decode()}.{NORTHMAIL}"}))
    egress = resolve(load(SHAPING), destination, NAMES[BLOCKING.blocked])
    kind = TrafficKind("thank-you", "transactional", "shop.example")
    [action] = ReplyWatch().see(egress, kind, SeenReply(blocked.text, SmtpState.RCPT, 0))
    assert (action.kind, action.until_us) == (ActionKind.SUSPEND, BLOCKING.suspended_s * 1_000_000)

    code, enhanced, text = blocked.text.split(" ", 2)
    judged = load_classifier().classify(Refusal(text, int(code), enhanced, Stage.RCPT))
    assert judged.waits, judged
