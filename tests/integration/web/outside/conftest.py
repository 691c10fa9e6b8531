"""One running edge for the tests of each module of this folder."""

from collections.abc import Iterator

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics
from drivers.web_edge import WebEdge, web_edge


@pytest.fixture(scope="module")  # a longer one would share its consumer groups with other tests
def edge(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebEdge]:
    have_topics(servers.kafka)
    database_url = servers.create_database()
    with web_edge(servers.kafka, database_url, tmp_path_factory.mktemp("edge"), http_timeout_s="1.5") as made:
        made.start()
        yield made
        assert made.defects() == []
    servers.drop_database(database_url)
