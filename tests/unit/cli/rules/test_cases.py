"""`ebbtide test`: what it prints and writes, which cases it runs, and how it goes on watching."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cli.main import app

RULES = """trigger: late
purpose: marketing
on: ping
after: 1h
cap: {max: 1, per: 1d}
quiet: {from: "21:00", to: "08:00"}
send: hello
cases:
  - name: right
    given: [{at: "10:00", ping: {}}]
    expect: [{at: "11:00", send: hello}]
  - name: "wrong <&> \\x01"
    given: [{at: "10:00", ping: {}}, {at: "20:30", ping: {}}, {at: "+1d 12:00", ping: {}}]
    expect: [{at: "11:30", send: hello}, {at: "21:30", drop: quiet}]
"""
TEMPLATE = "---\nsubject: s\n---\nx\n--- text ---\nx\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rule.yaml").write_text(RULES)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "hello.liquid").write_text(TEMPLATE)
    return tmp_path


def run(*arguments: object) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, ["test", *map(str, arguments)])
    return done.exit_code, done.stdout.splitlines()


def test_differences_are_printed_in_order_of_time(folder: Path) -> None:
    code, lines = run(folder)
    assert code == 1
    assert lines[0] == "✓ late: right"
    assert lines[2:10] == [
        f"    {folder}/rule.yaml:12",
        "    + 11:00 send hello",
        "    - 11:30 send hello",
        "    - 21:30 drop quiet",
        "      21:30 defer quiet",
        "      +1d 08:00 drop cap",
        "    + +1d 13:00 send hello",
        "- expected and missing   + sent and not expected   others happened too",
    ]
    assert lines[10] == "1 passed, 1 failed"


def test_a_name_chooses_cases_by_rule_or_case(folder: Path) -> None:
    assert run(folder, "-k", "RIGHT") == (0, ["✓ late: right", "1 passed, 0 failed"])
    assert run(folder, "-k", "late: wr")[1][-1] == "0 passed, 1 failed"


def test_a_name_that_no_case_has_is_a_usage_error(folder: Path) -> None:
    done = CliRunner().invoke(app, ["test", str(folder), "-k", "nothing"])
    assert "no case matches -k 'nothing'" in str(done.exception)


SEQUENCE = """trigger: late
purpose: marketing
on: {sequence: [a, b], within: 30d}
send: hello
cases:
  - name: forgets
    given: [{at: "10:00", a: {}}, FILL {at: "12:30", b: {}}]
    expect: [{at: "12:30", send: hello}, {at: "13:00", send: hello}]
"""


def test_a_case_that_fails_says_what_a_bound_on_memory_made_its_rule_forget(folder: Path) -> None:
    fill = [f'{{at: "{10 + n // 60}:{n % 60:02}", a: {{}}}},' for n in range(1, 67)]
    (folder / "rule.yaml").write_text(SEQUENCE.replace("FILL", " ".join(fill)))
    code, lines = run(folder)
    note = "    note: late: forgot sequence events 3 times, because a user had more than the "
    assert code == 1
    assert [line[2:] for line in lines if "note:" in line] == [
        f"{note}64 (or 16 that may end the sequence) that are kept"
    ]
    (folder / "rule.yaml").write_text(SEQUENCE.replace("FILL", " ".join(fill[:60])))
    assert "forgot" not in "".join(run(folder)[1])


MAIL = """---
subject: "Of {{ user.city | default: 'here' }}"
---
<p>{{ plan }}</p>
{% if user.city %}{{ user.street }}{% endif %}
--- text ---
{{ n | divided_by: m }}
"""
MAILS = """trigger: t
purpose: marketing
on: ping
after: 1h
send: {template: hello, data: DATA}
cases:
  - name: one
    user: {street: a}
    given: [{at: "10:00", ping: {}}, {at: "10:30", user: {city: b}}]
    expect: [{at: "11:00", send: hello}]
  - name: two
    user: {city: b}
    given: [{at: "10:00", ping: {}}]
    expect: [{at: "12:00", send: hello}]
"""


def test_a_mail_that_cannot_be_made_fails_its_case_with_template_line_and_variable(folder: Path) -> None:
    (folder / "rule.yaml").write_text(MAILS.replace("DATA", "{plan: '1', n: '4', m: '2'}"))
    mail = folder / "templates" / "hello.liquid"
    mail.write_text(MAIL)
    code, lines = run(folder)
    assert code == 1
    assert lines == [
        "✓ t: one",
        "✗ t: two",
        f"    {folder}/rule.yaml:11",
        "    + 11:00 send hello",
        "    - 12:00 send hello",
        f"    ! 11:00 send hello: {mail}:5: `user.street` is missing or blank; add it to the "
        "case's `user`, or a `default` to the template",
        "- expected and missing   + sent and not expected   ! a mail failed to render",
        "1 passed, 1 failed",
    ]
    assert run(folder, "--junit", folder / "junit.xml")[0] == 1
    assert "`user.street` is missing" in (folder / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (
            "{n: '4', m: '2'}",
            "4: `plan` is missing or blank; add it to the rule's `data`, or a `default` to the template",
        ),
        ("{plan: '1', n: '4', m: '0'}", "7: rendering failed (FilterArgumentError)"),
    ],
)
def test_a_value_missing_from_data_fails_the_mail(data: str, note: str, folder: Path) -> None:
    (folder / "rule.yaml").write_text(MAILS.replace("DATA", data))
    (folder / "templates" / "hello.liquid").write_text(MAIL)
    lines = run(folder, "-k", "one")[1]
    assert lines[2] == f"    ! 11:00 send hello: {folder}/templates/hello.liquid:{note}"


@pytest.mark.parametrize("white", ["\\n", "\\t", "\\r\\n"])
def test_a_tab_or_a_line_break_in_a_subject_fails_no_mail(white: str, folder: Path) -> None:
    (folder / "templates" / "hello.liquid").write_text(TEMPLATE.replace("subject: s", 'subject: "{{ n }}"'))
    (folder / "rule.yaml").write_text(MAILS.replace("DATA", f"{{n: '\"a{white}b\"'}}"))
    assert run(folder, "-k", "one") == (0, ["✓ t: one", "1 passed, 0 failed"])


def test_an_address_whose_domain_has_other_letters_is_mailed_and_one_whose_local_part_has_is_dropped(
    folder: Path,
) -> None:
    rule = MAILS.replace("DATA}", "{n: '\"a\"'}, to: 'TO'}")
    (folder / "rule.yaml").write_text(rule.replace("TO", '"zoe@bücher.example"'))
    assert run(folder, "-k", "one") == (0, ["✓ t: one", "1 passed, 0 failed"])
    (folder / "rule.yaml").write_text(rule.replace("TO", '"zo" + "ë@bücher.example"'))
    lines = run(folder, "-k", "one")[1]
    assert any("invalid_data" in line for line in lines)


def test_a_template_that_cannot_be_used_fails_the_cases_that_send_it(folder: Path) -> None:
    (folder / "templates" / "hello.liquid").write_text(TEMPLATE.replace("---\nx\n", "---\n{% if %}\n"))
    code, lines = run(folder, "-k", "right")
    assert code == 1
    assert "hello.liquid:4: rendering failed (hello: HTML part: missing expression)" in lines[2]


def test_without_any_template_the_cases_run_and_say_that_no_mail_was_rendered(folder: Path) -> None:
    (folder / "templates" / "hello.liquid").unlink()
    note = f"no templates in {folder}: the mails were not rendered"
    assert run(folder, "-k", "right") == (0, ["✓ late: right", note, "1 passed, 0 failed"])
    (folder / "templates" / "other.liquid").write_text(TEMPLATE)
    note = "mails without a template were not rendered: `hello`"
    assert run(folder, "-k", "right") == (0, ["✓ late: right", note, "1 passed, 0 failed"])


def test_junit_has_a_suite_for_each_rule_and_says_what_differed(folder: Path) -> None:
    done = CliRunner().invoke(app, ["test", str(folder), "--junit", str(folder / "out" / "junit.xml")])
    assert done.stderr == f"wrote {folder / 'out' / 'junit.xml'}\n"
    [suite] = ElementTree.parse(folder / "out" / "junit.xml").getroot()  # noqa: S314 - our own file
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("late", "2", "1")
    right, wrong = suite
    assert (right.get("name"), right.get("line"), len(right)) == ("right", "9", 0)
    assert wrong.get("name") == "wrong <&>  "
    assert wrong[0].get("message") == "+ 11:00 send hello"
    assert "- 11:30 send hello" in (wrong[0].text or "")


def line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    while text not in (line := process.stdout.readline()):
        assert line, f"ended without {text!r}"
    return line


def test_watch_runs_again_at_each_change_and_ctrl_c_ends_it_with_0(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "cli.main", "test", str(folder), "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TERM": "dumb", "PYTHONUNBUFFERED": "1"},
    )
    try:
        line_with(process, "1 passed, 1 failed")
        line_with(process, "Ctrl-C to stop")
        (folder / "rule.yaml").write_text(RULES.replace("purpose", "porpoise"))
        line_with(process, "unknown key `porpoise`")
        line_with(process, "Ctrl-C to stop")
        (folder / "rule.yaml").write_text(RULES[: RULES.index('  - name: "wrong')])
        line_with(process, "1 passed, 0 failed")
        line_with(process, "Ctrl-C to stop")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_mail_that_shows_the_event_gets_a_hint_of_what_a_template_can_read(folder: Path) -> None:
    (folder / "rule.yaml").write_text(MAILS.replace("DATA", "{}"))
    (folder / "templates" / "hello.liquid").write_text(TEMPLATE.replace("---\nx", "---\n{{ event.total }}"))
    shown = run(folder, "-k", "one")[1][2]
    assert shown.endswith(
        "hello.liquid:4: `event` is not available: a template sees the rule's `data` and `user`, not the event"
    )
