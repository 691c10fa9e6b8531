"""The name of a site tells its hosts, unless they are too many to be named."""

from hypothesis import given
from hypothesis import strategies as st

from senders.shaping.sites import MAX_NAME, hosts_of, site_name

LABELS = st.text("abcxyz0-", min_size=1, max_size=8)
HOSTS = st.frozensets(st.lists(LABELS, min_size=1, max_size=4).map(".".join), min_size=1, max_size=12)


@given(HOSTS)
def test_the_hosts_of_a_site_are_those_that_its_name_was_made_of(hosts: frozenset[str]) -> None:
    name = site_name(hosts)

    if "hosts" in name:
        assert hosts_of(name) < hosts
    else:
        assert hosts_of(name) == hosts


def test_of_too_many_hosts_those_that_the_name_shows_whole_are_found() -> None:
    hosts = {f"mx{number:02}.{'x' * 20}.example" for number in range(40)}
    name = site_name(hosts)

    assert len(name) <= MAX_NAME
    assert hosts_of(name) < hosts
