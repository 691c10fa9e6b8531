"""What happens to opens, clicks and unsubscribes while Kafka is away, and when the process ends."""

import asyncio
from pathlib import Path

import pytest
from drivers.own_broker import own_broker
from drivers.real_servers import RealServers
from drivers.recipient_pages import path_of, recipient_edge
from drivers.running_senders import have_topics
from drivers.shared_topics import readable_outcomes

from schemas.vocabulary import OutcomeKind
from senders.content.links import LinkKind

pytestmark = pytest.mark.servers

URL = "https://shop.example/cart"


async def test_an_unsubscribe_that_kafka_does_not_acknowledge_is_answered_503_within_five_seconds(
    servers: RealServers, database_url: str, tmp_path: Path
) -> None:
    with own_broker(servers, tmp_path) as broker:
        have_topics(broker.address)
        async with recipient_edge(broker.address, database_url) as edge:
            first, second, clicked = edge.a_mail(), edge.a_mail(), edge.a_mail()
            assert (await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, first), {})).status == 200
            broker.freeze()
            began = asyncio.get_running_loop().time()
            answer = await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, second), {})
            took_s = asyncio.get_running_loop().time() - began
            assert (await edge.request("GET", edge.a_link(clicked, URL))).status == 302, "clicks go on"
            broker.thaw()
            assert answer.status == 503
            assert "retry-after" in answer.headers
            assert took_s < 5.5
            [outcome] = await edge.recorded(clicked)
            assert outcome.kind is OutcomeKind.CLICKED
            assert (await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, second), {})).status == 200


async def test_what_was_answered_just_before_the_end_is_recorded(servers: RealServers, database_url: str) -> None:
    have_topics(servers.kafka)
    async with recipient_edge(servers.kafka, database_url) as edge:
        commands = {edge.a_mail() for _ in range(20)}
        for command in commands:
            assert (await edge.request("GET", path_of(LinkKind.OPEN, command))).status == 200
    assert {outcome.command_id for outcome in readable_outcomes(servers.kafka)} >= commands
