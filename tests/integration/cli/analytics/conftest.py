"""A database with the seeded programme, recorded as the recorder does, made once for all tests of this folder."""

from collections.abc import Iterator

import psycopg
import pytest
from drivers.real_servers import RealServers

from perf.analytics_database import fill, known_until
from perf.programme import FIRST_DAY, Programme
from perf.raw_views import create_raw_views


@pytest.fixture(scope="session")
def programme() -> Programme:
    return Programme()


@pytest.fixture(scope="session")
def seeded_url(servers: RealServers, programme: Programme) -> Iterator[str]:
    """The database, with the raw views beside those of analysts. Tests change nothing in it."""
    url = servers.create_database()
    fill(url, programme)
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        create_raw_views(connection, FIRST_DAY, known_until(programme))
    yield url
    servers.drop_database(url)
