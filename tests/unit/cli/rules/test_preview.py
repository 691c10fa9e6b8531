"""`ebbtide preview` and `send-test`: what a template gives, from which data, and that it is really mailed."""

import json
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from drivers.free_ports import free_port
from typer.testing import CliRunner, Result

from cli.main import app
from cli.operations.mail_view import view
from infra.local.sink_process import Sink

TEMPLATE = """---
subject: "{{ total | currency }} for {{ user.name | default: 'you' }}"
from: Shop <shop@harbour.example>
---
<p>{{ total }} in {{ user.zone | default: 'no zone' }}</p>
--- text ---
{{ total }} in {{ user.zone | default: 'no zone' }}
"""
RULE = """trigger: thanks
purpose: transactional
on: ordered
send: {template: thanks, data: {total: event.total * 2}}
cases:
  - name: none
    given: [{at: "10:00", ordered: {}}]
    expect: [{at: "10:00", drop: invalid_data}]
  - name: one
    user: {zone: Europe/Berlin, name: Ann}
    given: [{at: "10:00", ordered: {total: 4}}]
    expect: [{at: "10:00", send: thanks}]
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "rule.yaml").write_text(RULE)
    (tmp_path / "templates").mkdir()
    file = tmp_path / "templates" / "thanks.liquid"
    file.write_text(TEMPLATE)
    return file


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)


def test_sample_data_and_the_user_come_from_the_case_that_sends_it(template: Path) -> None:
    lines = run("preview", template).stdout.splitlines()
    assert lines == [
        "From:     Shop <shop@harbour.example>",
        "Subject:  $8.00 for Ann",
        "data of the case “one” of thanks; for other data: --data FILE",
        "",
        "8 in Europe/Berlin",
    ]


def test_files_and_standard_input_give_other_data_and_another_user(template: Path, tmp_path: Path) -> None:
    user = tmp_path / "user.json"
    user.write_text('{"user_id": "u7", "zone": "Asia/Tokyo", "attributes": {"name": "Ken"}}')
    done = run("preview", template, "--user", user, "--data", "-", stdin='{"total": 3}')
    assert "Subject:  $3.00 for Ken" in done.stdout
    assert "3 in Asia/Tokyo" in done.stdout
    user.write_text('{"name": "Bo"}')
    assert "Subject:  $8.00 for Bo" in run("preview", template, "--user", user).stdout


WARM = """score: warmth
decay: {curve: step, lifetime: 10d}
add: {event: viewed, points: 1}
---
metric: orders
event: ordered
within: ever
---
segment: warm
when: score.warmth > 2
---
trigger: thanks
purpose: marketing
on: ordered
key: event.id
when: user.quiet != true
send:
  template: thanks
  data:
    total: 'event.total + score.warmth * metric.orders.count + (segment.warm ? 100 : 0)'
    of: occurrence.key
cases:
  - name: one
    user: {quiet: false}
    given: [{at: "10:00", ordered: {total: 4}}]
    expect: [{at: "10:00", send: thanks}]
"""


def test_a_case_is_played_with_the_scores_and_metrics_of_the_given_user(template: Path, tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text(WARM)
    user = {"quiet": False, "score": {"warmth": 5}, "metric": {"orders": 2}}
    shown = run("preview", template, "--user", "-", stdin=json.dumps(user)).stdout
    assert "Subject:  $119.00 for you" in shown  # 4, 5 points times 3 orders with this one, and 100 for the segment
    assert "data of the case “one” of thanks; for other data" in shown


def test_a_given_user_whom_no_case_mails_is_told_of_beside_the_data_of_the_cases_own(
    template: Path, tmp_path: Path
) -> None:
    (tmp_path / "rule.yaml").write_text(WARM)
    shown = run("preview", template, "--user", "-", stdin='{"quiet": true, "name": "Bo"}').stdout
    assert "Subject:  $4.00 for Bo" in shown
    assert "of thanks, whose own user it is, since the given one gets no such mail" in shown


def test_a_rule_computes_its_data_from_a_given_event_occurrence_and_segments(template: Path, tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text(WARM)
    facts = tmp_path / ".facts"
    facts.mkdir()
    (facts / "user.yaml").write_text("score: {warmth: 2}\nmetric: {orders: {count: 3}}\n")
    (facts / "occurrence.json").write_text('{"key": "k1", "event": {"properties": {"total": 4}}}')
    given = ("--user", facts / "user.yaml", "--occurrence", facts / "occurrence.json")
    assert "Subject:  $10.00 for you" in run("preview", template, *given).stdout
    shown = run("preview", template, *given, "--segment", "warm", "--event", "-", stdin='{"properties": {"total": 5}}')
    assert "Subject:  $111.00 for you" in shown.stdout
    assert "data of thanks for what is given" in shown.stdout


def test_html_is_written_and_json_has_all_parts(template: Path, tmp_path: Path) -> None:
    done = run("preview", template, "--json", "--html", tmp_path / "out.html")
    assert (tmp_path / "out.html").read_text() == "<p>8 in Europe/Berlin</p>\n"
    assert json.loads(done.stdout) == {
        "from": {"name": "Shop", "address": "shop@harbour.example"},
        "reply_to": None,
        "subject": "$8.00 for Ann",
        "text": "8 in Europe/Berlin\n",
        "html": "<p>8 in Europe/Berlin</p>\n",
    }


def test_without_rules_the_missing_variable_is_named(template: Path, tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").unlink()
    message = f"{template}:2: `total` is missing or blank; add it to the rule's `data`, or a `default` to the template"
    assert str(run("preview", template).exception) == message
    assert str(run("send-test", template, "--to", "a@mail.example").exception) == message


BROKEN = RULE.replace("send: {", "snd: {")


def test_a_rule_file_that_does_not_load_is_named_and_the_data_is_not_blamed(template: Path, tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text(BROKEN)
    for command in (("preview", template), ("send-test", template, "--to", "a@mail.example")):
        message = str(run(*command).exception)
        assert message.startswith(
            f"{template}:2: `total` is missing: the rules beside it do not load ({tmp_path}/rule.yaml:4: "
        )
        assert "unknown key `snd` in trigger" in message
        assert message.endswith("`ebbtide check` shows what to fix; or give --data and --user")


def test_a_template_that_needs_no_data_is_shown_though_a_rule_file_does_not_load(
    template: Path, tmp_path: Path
) -> None:
    template.write_text("---\nsubject: x\n---\nx\n--- text ---\nx\n")
    for broken in (BROKEN, "a: [", "\0"):
        (tmp_path / "rule.yaml").write_text(broken)
        shown = run("preview", template).stdout
        assert f"no data: the rules beside it do not load ({tmp_path}/rule.yaml" in shown
        assert "no case of the rules beside it sends this template" not in shown
    (tmp_path / "rule.yaml").write_bytes(b"\xff\xfe")
    assert f"do not load ({tmp_path}/rule.yaml: it is UTF-16; save it as UTF-8)" in run("preview", template).stdout


def test_with_data_given_a_rule_file_that_does_not_load_does_not_matter(template: Path, tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text(BROKEN)
    done = run("preview", template, "--data", "-", stdin='{"total": 3}')
    assert (done.exit_code, "Subject:  $3.00 for you" in done.stdout, "load" in done.stdout) == (0, True, False)


@pytest.mark.parametrize("user", ['{"name": ""}', '{"name": null}', '{"name": " "}', "{}"])
def test_a_blank_name_counts_as_missing(user: str, template: Path) -> None:
    body = "---\nsubject: 'Good news{% if user.name %}, {{ user.name }}{% endif %}'\n---\nx\n--- text ---\nx\n"
    template.write_text(body)
    assert "Subject:  Good news\n" in run("preview", template, "--user", "-", stdin=user).stdout
    template.write_text(body.replace("if user.name", "if true"))
    message = f"{template}:2: `user.name` is missing or blank; add it to --user, or a `default` to the template"
    assert str(run("preview", template, "--user", "-", stdin=user).exception) == message


def test_a_fault_of_the_template_is_reported_with_its_line(template: Path) -> None:
    template.write_text("---\nsubject: x\nfrom: nobody\n---\nx\n--- text ---\nx\n")
    message = f"{template}:3: rendering failed (thanks: front matter: From: not a plain mail address)"
    assert str(run("preview", template).exception) == message


def test_files_with_a_byte_order_mark_are_read(template: Path) -> None:
    template.write_text("\ufeff" + template.read_text())
    done = run("preview", template, "--data", "-", stdin='\ufeff{"total": 3}')
    assert "Subject:  $3.00 for" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (("--data", "-"), "{", "-: not JSON"),
        (("--data", "-"), "[]", "-: not a JSON object"),
        (("--user", "-"), '{"user_id": 5}', "-: not a profile: user_id"),
        (("--user", "nowhere.json"), "", "nowhere.json: No such file"),
        (("--user", "-"), '{"score": {"warmth": 3}}', "--user: there is no score `warmth`"),
        (
            ("--event", "-"),
            "{}",
            "data.total of thanks: no such field: total in 'event.total * 2'; give more, or --data",
        ),
    ],
)
def test_unusable_input_is_an_error_that_says_why(
    template: Path, arguments: tuple[str, ...], stdin: str, expected: str
) -> None:
    assert expected in str(run("preview", template, *arguments, stdin=stdin).exception)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A folder of its own, where a key and a secret are made."""
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_send_test_mails_the_template_signed(template: Path, tmp_path: Path, elsewhere: pytest.MonkeyPatch) -> None:
    with Sink(free_port(), tmp_path / "sink") as sink:
        elsewhere.setenv("EBBTIDE_SMTP_PORT", str(sink.port))
        done = run("send-test", template, "--to", "ann@mail.example")
        assert (done.exit_code, done.stdout.split(" 250")[0]) == (0, f"accepted by 127.0.0.1:{sink.port}:")
        [mail] = list(sink.messages())
        assert run("send-test", template, "--to", "ann@BÜCHER.example").exit_code == 0
        assert [each.rcpt_to for each in sink.messages()] == ["ann@mail.example", "ann@xn--bcher-kva.example"]
        refused = run("send-test", template, "--to", "550@mail.example")
        assert (refused.exit_code, refused.stdout.split(" 550 5.1.1")[0]) == (1, f"refused by 127.0.0.1:{sink.port}:")
    parsed = message_from_bytes(mail.raw, policy=policy.default)
    assert mail.rcpt_to == "ann@mail.example"
    assert parsed["Subject"] == "$8.00 for Ann"
    assert parsed["DKIM-Signature"]


def test_what_preview_shows_is_what_is_sent(template: Path, tmp_path: Path, elsewhere: pytest.MonkeyPatch) -> None:
    template.write_text(
        """---
subject: "{{ title }} for {{ user.name | default: 'you' }}"
preheader: "{{ n | round }}\\tthings"
from: "{{ seller }} <mail@shop.example>"
reply_to: "{{ clerk }}"
---
<p>{{ title | truncate: 8 }} {{ user.name | default: "you" }}</p>
--- text ---
{{ title }} {{ l | map: "p" | compact | size }}
"""
    )
    data = {
        "title": "Kind of\nBlue",
        "n": 2.5,
        "seller": "Läden, Ann",
        "clerk": "ann@bücher.example",
        "l": [{"p": 1}, {}],
    }
    given = ("--user", "-", "--data", tmp_path / "data.json")
    (tmp_path / "data.json").write_text(json.dumps(data))
    shown = json.loads(run("preview", template, "--json", *given, stdin='{"name": " "}').stdout)
    with Sink(free_port(), tmp_path / "sink") as sink:
        elsewhere.setenv("EBBTIDE_SMTP_PORT", str(sink.port))
        assert run("send-test", template, "--to", "ann@mail.example", *given, stdin='{"name": " "}').exit_code == 0
        [mail] = list(sink.messages())
    sent = view(mail.raw)
    assert sent.header("Subject") == shown["subject"] == "Kind of Blue for you"
    assert sent.header("Reply-To") == shown["reply_to"]["address"] == "ann@xn--bcher-kva.example"
    assert (shown["from"]["name"], shown["from"]["address"]) == ("Läden, Ann", "mail@shop.example")
    assert sent.header("From") == "Läden, Ann <mail@shop.example>"
    assert (sent.text, sent.html) == (shown["text"], shown["html"])
    assert sent.reading.hidden == "3 things"


def test_mail_to_a_server_elsewhere_is_refused(template: Path, elsewhere: pytest.MonkeyPatch) -> None:
    elsewhere.setenv("EBBTIDE_SMTP_HOST", "192.0.2.1")
    assert "real mail is refused" in str(run("send-test", template, "--to", "a@mail.example").exception)


def test_a_silent_server_and_a_wrong_address_are_errors_that_say_so(
    template: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    elsewhere.setenv("EBBTIDE_SMTP_PORT", str(free_port()))
    message = str(run("send-test", template, "--to", "a@mail.example").exception)
    assert message.startswith("no mail server answers at 127.0.0.1:")
    assert message.endswith("`ebbtide run sink` starts one here")
    assert str(run("send-test", template, "--to", "a b").exception) == "--to: not a plain mail address"
    message = str(run("send-test", template, "--to", "zoë@mail.example").exception)
    assert message == "--to: the part before the @ must be ASCII; anything else needs SMTPUTF8, which delivery lacks"


BRANDS = """---
brand: shop
from: The Shop <mail@shop.example>
reply_to: help@shop.example
templates: shop
---
brand: outlet
from: mail@outlet.example
dkim: {domain: outlet.example, selector: autumn}
"""
PLAIN_TEMPLATE = "---\nsubject: Hello\n---\nx\n--- text ---\nfrom %s\n"


@pytest.fixture
def branded(tmp_path: Path) -> Path:
    """The template of a brand's folder, beside one of the same name."""
    (tmp_path / "rule.yaml").write_text(RULE.replace("on:", "brand: shop\non:") + BRANDS)
    (tmp_path / "templates" / "shop").mkdir(parents=True)
    (tmp_path / "templates" / "thanks.liquid").write_text(PLAIN_TEMPLATE % "all")
    file = tmp_path / "templates" / "shop" / "thanks.liquid"
    file.write_text(PLAIN_TEMPLATE % "the shop")
    return file


def test_a_template_is_shown_as_the_brand_of_its_rule_sends_it(branded: Path) -> None:
    lines = run("preview", branded).stdout.splitlines()
    assert lines[:3] == ["From:     The Shop <mail@shop.example>", "Reply-To: help@shop.example", "Subject:  Hello"]
    assert lines[-1] == "from the shop"
    assert json.loads(run("preview", branded, "--json").stdout)["from"] == {
        "name": "The Shop",
        "address": "mail@shop.example",
    }


def test_a_template_is_shown_as_a_brand_that_is_named_sends_it(branded: Path) -> None:
    assert run("preview", branded, "--brand", "outlet").stdout.startswith("From:     mail@outlet.example")
    refused = run("preview", branded, "--brand", "shp")
    assert refused.exit_code == 1
    assert "no brand `shp`" in str(refused.exception)
    assert "did you mean `shop`?" in str(refused.exception)


def test_check_finds_the_template_of_each_brand_and_says_which_key_is_missing(
    branded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = branded.parents[2]
    found = json.loads(run("check", folder, "--json").stdout)["findings"]
    assert [each["code"] for each in found if each["severity"] == "error"] == []
    told = [(each["code"], each["message"]) for each in found if each["code"] != "unused-definition"]
    assert ("unused-template", "no rule sends the template `thanks`") in told
    [missing] = [message for code, message in told if code == "missing-signing-key"]
    assert "autumn._domainkey.outlet.example" in missing
    keys = folder / "keys.toml"
    keys.write_text('[[keys]]\ndomain = "outlet.example"\nselector = "autumn"\nfile = "autumn.pem"\n')
    monkeypatch.setenv("EBBTIDE_DKIM_KEYS", str(keys))
    assert "missing-signing-key" not in run("check", folder).stdout
    monkeypatch.setenv("EBBTIDE_DKIM_KEYS", str(folder / "none.toml"))
    assert "not a readable TOML file of DKIM keys" in run("check", folder).stdout


def test_cases_render_the_template_of_the_brand(branded: Path) -> None:
    branded.write_text(PLAIN_TEMPLATE % "{{ nobody }}")
    failed = run("test", branded.parents[2])
    assert failed.exit_code == 1
    assert "shop/thanks.liquid" in failed.stdout


@pytest.mark.parametrize("command", [("preview",), ("send-test", "--to", "you@shop.example")])
def test_a_rule_file_is_not_taken_for_a_template(template: Path, command: tuple[str, ...]) -> None:
    name, *more = command
    rule = template.parents[1] / "rule.yaml"
    expected = f"{rule}: a rule file, not a template; name a template's file, as in mine/templates/welcome.liquid"
    assert str(run(name, rule, *more).exception) == expected


def test_a_written_html_part_is_named_beside_the_output(template: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("preview", template, "--json", "--html", page)
    assert done.stderr == f"wrote {page}\n"
    assert json.loads(done.stdout)["html"] == page.read_text()
