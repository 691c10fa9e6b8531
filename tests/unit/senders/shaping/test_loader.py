"""What `ebbtide senders check` says of wrong shaping files, word for word; the starting file has no mistake."""

import itertools
import time
from pathlib import Path

import pytest

import senders.shaping
from senders.shaping.findings import InvalidShaping
from senders.shaping.loader import MAX_BYTES, inspect, parse

STARTING = Path(senders.shaping.__file__).with_name("data") / "starting.toml"
RULE = '[[default.automation]]\npattern = "too many"\naction = "suspend"\nduration = "1h"\n'
A, B = '[provider.a]\nmatch = [{mx_suffix = ".a.example"}]\n', '[provider.b]\nmatch = [{mx_suffix = ".b.example"}]\n'

WRONG = {
    "[default]\nconection_limit = 10": (
        "2:1: error: unknown key `conection_limit` in `default`; did you mean `connection_limit`?"
    ),
    "[defaults]": "1:1: error: unknown key `defaults`; did you mean `default`?",
    "connection_limit = 1": "1:1: error: unknown key `connection_limit`; write it below [default]",
    '["comcast.net"]\nx = 1': (
        '1:1: error: unknown key `comcast.net`; write [domain."comcast.net"], '
        'or [site."MX HOST"] for all domains with the same hosts'
    ),
    '[default]\nenable_tls = "Required"': (
        "2:1: error: unknown key `enable_tls` in `default`; `tls` here: opportunistic, required, verified or off, "
        'as in tls = "verified"'
    ),
    "[default]\nprovider_connection_limit = 1": (
        "2:1: error: unknown key `provider_connection_limit` in `default`; only below [provider.NAME]"
    ),
    "[default]\nmax_message_rate = 5": '2:20: error: `max_message_rate`: a rate is text, as in "100/s"',
    '[default]\nmax_message_rate = "local:5/s"': (
        "2:20: error: `max_message_rate`: limits hold over all workers, so `local:` does not exist; write it without"
    ),
    "[default]\nconnection_limit = 0": "2:20: error: `connection_limit`: less than 1",
    "[default]\nconnection_limit = true": "2:20: error: `connection_limit`: not a whole number",
    "[default]\nconnect_timeout = '1h'": "2:19: error: `connect_timeout`: must be from 1s to 30m",
    "[default]\ntls = 'requird'": (
        "2:7: error: `tls`: unknown value `requird`; one of 'opportunistic', 'required', 'verified' or 'off'"
    ),
    "[default]\nretry_interval = '2h'\nmax_retry_interval = '1h'": (
        "3:22: error: `max_retry_interval` is shorter than `retry_interval`"
    ),
    "[provider.a]\nconnection_limit = 1": "1:1: error: `match` is missing in `provider.a`",
    "[provider.a]\nmatch = []": ("2:9: error: `match`: needs at least one item"),
    "[[provider.a.automation]]\npattern = 'x'\naction = 'hold'\nduration = '1h'": (
        "1:1: error: `match` is missing in `provider.a`"
    ),
    "[provider.a]\nmatch = [{mx_suffix = 'a.example'}]": (
        '2:23: error: `mx_suffix`: begins with a point, as in ".google.com"; a host alone is `host_name`'
    ),
    "[provider.a]\nmatch = [{mx_suffix = '.a', host_name = 'b'}]": (
        "2:10: error: `match`: has exactly one of `mx_suffix`, `host_name`, `domain_suffix`"
    ),
    A + '[provider.b]\nmatch = [{host_name = "b.x"}, {host_name = "mx.a.example"}]': (
        "4:31: error: the providers `a` and `b` overlap: `mx.a.example` is in `.a.example`; "
        "of line 2; each host is of one provider"
    ),
    A + '[provider.b]\nmatch = [{mx_suffix = ".a.example"}]': (
        "4:10: error: the providers `a` and `b` overlap: `.a.example` is in `.a.example`; "
        "of line 2; each host is of one provider"
    ),
    '[provider.a]\nmatch = [{mx_suffix = ".x"}, {mx_suffix = ".y.x"}]': ("2:30: warning: `.y.x` adds nothing to `.x`"),
    RULE.replace("pattern", "regex"): (
        "1:1: error: `pattern` is missing in `default.automation`\n"
        "2:1: error: unknown key `regex` in `default.automation`; `pattern` here"
    ),
    RULE.replace('"too many"', "'(a{1,1000}){1,1000}'"): (
        "2:11: error: `pattern`: not a pattern of RE2: invalid repetition size: {1,1000}"
    ),
    RULE.replace('"too many"', "'\\pL{900}'"): (
        "2:11: error: `pattern`: not a pattern of RE2: pattern too large - compile failed"
    ),
    RULE.replace('"too many"', f"'{'x' * 1025}'"): "2:11: error: `pattern`: a pattern longer than 1024 bytes",
    RULE.replace('"too many"', "['a', '.*']"): (
        "2:17: error: `pattern`: it matches every reply; name words of the reply that is meant"
    ),
    RULE.replace('"too many"', "'(?i)^too many'"): (
        "2:11: error: `pattern`: it can never match: a reply begins with its code, as in `^421 4.7.0 Try again`"
    ),
    RULE.replace('"suspend"', "'suspnd'"): (
        "3:10: error: `kind`: unknown value `suspnd`; one of 'suspend', 'hold' or 'set'"
    ),
    RULE.replace('"suspend"', "[{set = {max_message_rat = '1/m'}}]"): (
        "3:19: error: unknown key `max_message_rat` in `default.automation.action.set`; "
        "did you mean `max_message_rate`?"
    ),
    RULE.replace('"suspend"', "{set = {}}"): "3:10: error: `action`: sets no key",
    RULE.replace('"suspend"', "{set = {connection_limit = 1}}") + "scope = 'purpose'": (
        "1:1: error: `automation`: with the scope `purpose`, `set` takes only `max_message_rate`"
    ),
    RULE + "scope = 'trigger'": (
        "1:1: error: `automation`: with the scope `trigger` no other source helps: write `hold` for `suspend`"
    ),
    RULE.replace("default", 'domain."x.y"').replace('"suspend"', "{set = {provider_connection_limit = 1}}"): (
        "1:1: error: `provider_connection_limit` can be set only by a rule of a provider"
    ),
    RULE + "state = 'rpct'": (
        "5:9: error: `state`: unknown value `rpct`; "
        "one of 'greeting', 'ehlo', 'starttls', 'auth', 'mail', 'rcpt', 'data' or 'dot'"
    ),
    RULE + RULE: (
        "5:1: warning: the rule changes nothing: the one of line 1 acts on every such reply, no later; "
        "remove it, or make its pattern or action differ"
    ),
    RULE + A + RULE.replace("default", "provider.a").replace("too many", "far too many").replace("1h", "5m"): (
        "7:1: warning: the rule changes nothing: the one of line 1 acts on every such reply, no later; "
        "remove it, or make its pattern or action differ"
    ),
    A + "[provider.a.sources.x]\ntls = 'off'": "3:1: error: no source is called `x`; write [source.x]",
    "[source.ab]\n[pool.p]\nsources = ['abc']": (
        "1:1: warning: no pool has the source `ab`: it sends nothing\n"
        "3:12: error: no source is called `abc`; did you mean `ab`?"
    ),
    "[source.a]\n[pool.p]\nsources = ['a', 'a']": (
        "3:17: error: `a` stands in the pool twice; its `weight` gives it a greater share"
    ),
    "[source.a]\n[pool.p]\nsources = ['a']\npurposes = ['x']": (
        "2:1: warning: no pool takes the purposes that none names: their mails wait; leave out `purposes` in one pool"
    ),
    "[source.a]\n[pool.p]\nsources = ['a']\n[pool.q]\nsources = ['a']": (
        "4:1: error: the pool `p` takes all other purposes already; name its purposes"
    ),
    "[source.a]\nrelays = ['x']": ('2:11: error: `relays`: a relay is "HOST:PORT"; write an IPv6 address in brackets'),
    "[source.a]\naddress = '1.2.3'": "2:11: error: `address`: not an IPv4 address",
    "[source.'a b']": "1:1: error: not a name: `a b`",
    '[domain."a b"]': "1:1: error: `a b`: not a name of a host or domain",
    '[domain."müller.example"]\n[domain."XN--mller-kva.example"]': (
        "2:1: error: `XN--mller-kva.example` is the same as `müller.example`; write one table"
    ),
    A + "[purpose.news.provider.aa]\nmax_message_rate = '1/s'": (
        "3:1: error: no provider is called `aa`; did you mean `a`?"
    ),
    "[trigger.x]\nconnection_limit = 1": (
        "2:1: error: unknown key `connection_limit` in `trigger.x`; docs/shaping.md lists the keys"
    ),
    "a = [": "1:6: error: not TOML: invalid value",
    "[default]\n[default]": "2:9: error: not TOML: cannot declare ('default',) twice",
    "a = 2026-02-30": "1:5: error: not TOML: invalid date or datetime",
    "a = " + "9" * 5000: ("1:1: error: not TOML that can be read: a number is too long"),
    "\n" + "a." * 50 + "b = 1": "2:1: error: nested deeper than 12",
    "x = " + "[" * 100_000: "1:29: error: nested deeper than 12",
    "x" * (MAX_BYTES + 1): "1:1: error: larger than 256 KB",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items(), ids=lambda text: " ".join(text.split())[:50])
def test_each_mistake_is_named_with_its_place(text: str, said: str) -> None:
    _, findings = inspect(text.encode(), "f")

    assert "\n".join(str(each).removeprefix("f:") for each in findings) == said


def test_bytes_that_are_not_utf_8_are_named_with_their_place() -> None:
    assert [str(each) for each in inspect(b"a = 1\nb = '\xff'", "f")[1]] == ["f:2:6: error: not UTF-8"]


def test_all_mistakes_are_reported_at_once_and_the_file_is_refused() -> None:
    with pytest.raises(InvalidShaping) as refused:
        parse(b"[default]\nconnection_limit = 0\ntls = 'x'\nfoo = 1\n", "f")

    assert [each.line for each in refused.value.findings] == [2, 3, 4]
    assert "\n" not in refused.value.line


def test_a_warning_does_not_refuse_a_file() -> None:
    assert len(parse((RULE + RULE).encode(), "f").document.default.automation) == 2


def test_the_starting_file_has_no_finding() -> None:
    file, findings = inspect(STARTING.read_bytes(), "starting.toml")

    assert findings == []
    assert file is not None
    assert {"google", "yahoo", "outlook", "office365", "apple", "comcast"} <= set(file.document.provider)


def many_rules(tables: int, rules: int, patterns: int) -> str:
    """A file of rules that do the same, and whose patterns differ: each must be compared with many."""
    number = itertools.count(10_000)
    texts = "[default]\n"
    for table in range(tables):
        listed = [
            f"{{pattern={[f'x{next(number)}' for _ in range(patterns)]},action='hold',duration='1s'}}"
            for _ in range(rules)
        ]
        texts += f"automation=[{','.join(listed)}]\n[domain.d{table}]\n"
    return texts


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"[provider.p{n}]\nmatch = [{{mx_suffix = '.p{n}.example'}}]\n" for n in range(500)),
        "".join(f"[domain.d{n}]\ntls = 'off'\n" for n in range(5000)),
        "".join(RULE.replace("too many", f"text {n} {m}") for n in range(10) for m in range(20)),
        "".join(f"[default{n}]\n" for n in range(15_000)),
        '[default]\n"' + '\\"' * 60_000,
        many_rules(25, 200, 1),
        many_rules(7, 200, 14),
    ],
    ids=["providers", "domains", "rules", "unknown tables", "quotes", "rules of many tables", "many patterns"],
)
def test_a_file_of_the_largest_size_is_read_in_bounded_time(text: str) -> None:
    assert len(text.encode()) <= MAX_BYTES
    begun = time.process_time()
    inspect(text.encode(), "f")

    assert time.process_time() - begun < 10
