"""`ebbtide senders classify` prints what mails say, one line a recipient."""

import json
from pathlib import Path

from typer.testing import CliRunner

from cli.main import app

REPORT = b"""From: MAILER-DAEMON@mx.example
To: bounce@ours.example
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

<ann@example.net>: host mx.example.net[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command)

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; ann@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

Final-Recipient: rfc822; bob@example.net
Action: failed
Status: 5.0.0
Diagnostic-Code: smtp; 550 mailbox full

Final-Recipient: rfc822; carol@example.net
Action: relayed
Status: 2.0.0
--b--
"""


def test_each_recipient_that_failed_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(REPORT)
    (tmp_path / "b.eml").write_bytes(b"From: ann@example.net\nSubject: hello\n\nhello\n")
    done = CliRunner().invoke(app, ["senders", "classify", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    ann, bob, none = (json.loads(line) for line in done.stdout.splitlines())
    assert list(ann) == ["file", "kind", "recipient", "status", "class", "hard", "rule"]
    assert ann == {
        "file": str(tmp_path / "a.eml"),
        "kind": "bounce",
        "recipient": "ann@example.net",
        "status": "5.1.1",
        "class": "invalid_recipient",
        "hard": True,
        "rule": ann["rule"],
    }
    assert (bob["recipient"], bob["class"], bob["hard"]) == ("bob@example.net", "quota_issues", False)
    assert (none["kind"], none["class"], none["hard"]) == ("none", None, False)


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(REPORT)
    done = CliRunner().invoke(app, ["senders", "classify", str(tmp_path / "gone.eml"), str(tmp_path / "a.eml")])
    assert done.exit_code == 1
    assert "gone.eml: No such file" in done.stderr
    assert "bob@example.net" in done.stdout


def test_rules_with_a_mistake_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[[rules]]\nname = 'a'\nclass = 'b'\ntext = ['(']\n")
    (tmp_path / "a.eml").write_bytes(REPORT)
    done = CliRunner().invoke(
        app, ["senders", "classify", str(tmp_path / "a.eml"), "--rules", str(tmp_path / "own.toml")]
    )
    assert done.exit_code != 0
