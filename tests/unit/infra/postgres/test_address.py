"""Connection URLs with one host or several: which can be read, and what is shown of them."""

import pytest

from infra.postgres.address import require_url, shown
from infra.postgres.settings import DatabaseSettings
from infra.postgres.stores import Stores

TWO_HOSTS = "postgresql://ebbtide:secret@a:1,b:2/db?target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://postgres@127.0.0.1:21002/ebbtide", "127.0.0.1:21002/ebbtide"),
        (TWO_HOSTS, "a:1,b:2/db"),
        ("postgresql://a,b:2/db", "a:5432,b:2/db"),
        ("postgresql://a,b/db?password=secret", "a:5432,b:5432/db"),
        ("host=a,b port=7 dbname=db password=secret", "a:7,b:7/db"),
        ("", "localhost:5432/"),
    ],
)
def test_only_hosts_ports_and_database_are_shown(url: str, words: str) -> None:
    assert shown(url) == words


@pytest.mark.parametrize("url", [TWO_HOSTS, "postgresql:///db", "host=a dbname=db", ""])
def test_what_libpq_can_read_is_a_url(url: str) -> None:
    assert require_url(url) == url


@pytest.mark.parametrize("url", ["postgresql://u:secret@a:1/db?no_such_key=1", "secret"])
def test_what_it_cannot_read_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL such as") as refused:
        require_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("password", ["sec/ret", "12/secret", "p@secret"])
def test_a_password_that_libpq_takes_for_other_parts_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(ValueError, match="in a password, write %2F for /, and %40 for @") as refused:
        require_url(f"postgresql://u:{password}@a:1/db")
    assert "sec" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:sec%2Fr%40t@a:1/db",
        "postgresql://a/d%40b?password=p@s/t",
        "postgresql://u@a?password=p@s/t",
        "host=@socket dbname=d@b password=p@s/t",
    ],
)
def test_these_signs_are_taken_where_they_mean_themselves(url: str) -> None:
    assert require_url(url) == url


def test_the_settings_refuse_it_too_and_never_show_a_url() -> None:
    settings = DatabaseSettings(database_url=TWO_HOSTS, ledger_url="postgresql://u:secret@c/ledger")
    assert "secret" not in repr(settings) + repr(Stores.of(settings))
    with pytest.raises(ValueError, match="not a URL such as"):
        DatabaseSettings(database_url="nonsense")


def test_without_a_ledger_of_its_own_there_is_one_database_with_one_outage() -> None:
    for ledger_url in ("", TWO_HOSTS):
        stores = Stores.of(DatabaseSettings(database_url=TWO_HOSTS, ledger_url=ledger_url))
        assert stores.ledger is stores.timescale
        assert [outage.server for outage in stores.outages] == ["timescale"]
    apart = Stores.of(DatabaseSettings(database_url=TWO_HOSTS, ledger_url="postgresql://c/ledger"))
    assert (apart.ledger.url, apart.timescale.url) == ("postgresql://c/ledger", TWO_HOSTS)
    assert [outage.server for outage in apart.outages] == ["ledger", "timescale"]
