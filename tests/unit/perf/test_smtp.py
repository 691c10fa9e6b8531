"""The measurement of the SMTP client: mails arrive by each way that it compares."""

import pytest

from perf.bench_smtp import WAYS, connected, mail, receiver


@pytest.mark.parametrize(("way", "tls"), [("aiosmtplib", False), ("chunked", True), ("pipelined", True)])
async def test_mails_go_by_the_way_that_is_measured(way: str, tls: bool) -> None:
    assert way in WAYS
    with receiver(way, tls=tls) as port:
        async with connected(way, port, tls=tls) as send:
            for _ in range(3):
                await send(mail(10))
