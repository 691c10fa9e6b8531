"""What holds for a source at a destination: which table wins, which rules apply, and what belongs to a provider."""

import pytest

from senders.shaping.loader import parse
from senders.shaping.resolution import Egress, resolve
from senders.shaping.sites import Destination, site_name

TABLES = ["default", "provider.p", "provider.p.sources.s", 'site."mx.p.example"', 'domain."d.example"']
TABLES += ['site."mx.p.example".sources.s', 'domain."d.example".sources.s']
"""In the order in which a later one wins."""
OURS = Destination.of("D.example.", ["MX.p.example.", "mx2.p.example"])
MATCH = '[provider.p]\nmatch = [{mx_suffix = ".p.example"}]\n[source.s]\n[source.t]\n'


def of(text: str, destination: Destination = OURS, source: str = "s") -> Egress:
    return resolve(parse((MATCH + text).encode(), "f"), destination, source)


@pytest.mark.parametrize("last", range(1, len(TABLES) + 1))
def test_the_most_specific_table_wins(last: int) -> None:
    values = [f"{table}.connection_limit = {number}" for number, table in enumerate(TABLES[:last], 1)]
    rest = 'provider.p.match = [{mx_suffix = ".p.example"}]\nsource.s = {}'
    text = "\n".join([*values, rest])

    found = resolve(parse(text.encode(), "f"), OURS, "s").values["connection_limit"]

    assert found.value == last
    assert found.path is not None
    assert parse(text.encode(), "f").place(found.path)[0] == last


def test_another_source_or_destination_has_none_of_it() -> None:
    text = "[provider.p.sources.s]\nconnection_limit = 3\n[domain.'d.example']\ntls = 'off'\n"

    assert of(text).keys.connection_limit == 3
    assert of(text, source="t").keys.connection_limit == 10
    assert of(text, Destination.of("e.example", ["mx.p.example"])).keys.tls == "opportunistic"


def test_replace_base_drops_values_and_rules_of_wider_tables() -> None:
    rule = "automation]]\npattern = 'slow'\naction = 'suspend'\nduration = '1h'\n"
    text = f"[default]\nconnection_limit = 1\ntls = 'off'\n[[default.{rule}[domain.'d.example']\nreplace_base = true\n"
    text += f"connection_limit = 2\n[[domain.'d.example'.{rule.replace('slow', 'stop')}"

    found = of(text)

    assert (found.keys.connection_limit, found.keys.tls) == (2, "opportunistic")
    assert [each.rule.pattern for each in found.rules] == [("stop",)]


def test_rules_of_the_most_specific_table_come_first() -> None:
    rule = ".automation]]\naction = 'suspend'\nduration = '1h'\npattern = 'of "
    text = f"[[default{rule}default'\n[[provider.p{rule}provider'\n[[domain.'d.example'{rule}domain'\n"

    assert [each.name for each in of(text).rules] == [
        "domain.d.example.automation[0]",
        "provider.p.automation[0]",
        "default.automation[0]",
    ]


def test_a_host_of_somebody_else_makes_it_no_destination_of_the_provider() -> None:
    text = "[default]\ntls = 'off'\n"

    assert of(text).provider == "p"
    assert of(text, Destination.of("d.example", ["mx.p.example", "mx.other.example"])).provider is None
    assert of(text, Destination.of("d.example", [])).provider is None
    assert of(text, Destination.of("d.example", ["notp.example"])).provider is None


def test_a_provider_can_be_known_by_the_domain() -> None:
    text = "[provider.q]\nmatch = [{domain_suffix = '.d.example'}]\n"

    assert of(text, Destination.of("a.d.example", ["mx.other.example"])).provider == "q"
    assert of(text, Destination.of("d.example", [])).provider == "q"
    assert of(text, Destination.of("xd.example", [])).provider is None


def test_a_domain_table_sets_the_domain_apart_and_a_site_table_does_not() -> None:
    assert of("[domain.'d.example']\ntls = 'off'").site == "d.example"
    assert of("[site.'mx.p.example']\ntls = 'off'").site == "(mx|mx2).p.example"


def test_a_site_can_be_named_by_its_whole_name() -> None:
    assert of("[site.'(mx|mx2).p.example']\ntls = 'off'").keys.tls == "off"


def test_hosts_of_a_site_are_shown_together() -> None:
    google = ["gmail-smtp-in.l.google.com", *(f"alt{n}.gmail-smtp-in.l.google.com" for n in (1, 2))]

    assert site_name(google) == "(alt1|alt2)?.gmail-smtp-in.l.google.com"
    assert site_name(["mx.a.example", "mx.b.net"]) == "(mx.a.example|mx.b.net)"
    assert site_name(["mx.a.example"]) == "mx.a.example"
    assert len(site_name([f"mx{n}.a.example" for n in range(1000)])) < 250
