"""The links of recipients in the test's own process, on real servers, and mails whose links they follow."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import psycopg
from drivers.asgi_client import AsgiAnswer, asgi_request
from drivers.shared_topics import readable_outcomes

from infra.kafka.topic_reader import read_all
from infra.postgres.database import AsyncDatabase
from infra.postgres.stores import Stores
from infra.service.tasks import end_tasks
from infra.service.watchdog import Watchdog
from schemas.codec import decode
from schemas.commands import SendCommand
from schemas.outcomes import Outcome
from schemas.profiles import Consent, Profile
from schemas.topics import COMMANDS
from senders.content.links import LinkKeys, LinkKind, LinkPages, link_id
from web.profiles.patches import ProfilePatch
from web.profiles.store import ProfileStore
from web.recipients.app import RecipientsPart
from web.recipients.pages.stored_profiles import StoredProfiles
from web.settings import WebSettings

SECRET = "a secret of the tests alone"
PAGES = LinkPages("https://mail.shop.example", LinkKeys([SECRET]))
BROWSER = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "accept-language": "de",
    "sec-fetch-mode": "navigate",
    "sec-fetch-user": "?1",
}
LONG_AGO = timedelta(hours=1)


class RecipientEdge:
    """What a recipient can do, and what becomes of it."""

    def __init__(self, kafka: str, database_url: str, part: RecipientsPart, store: ProfileStore) -> None:
        self.part = part
        self.store = store
        self.database_url = database_url
        self.kafka = kafka

    def a_mail(self, purpose: str = "marketing", ago: timedelta = LONG_AGO, state: str = "accepted") -> str:
        """The command of a mail that was accepted so long ago, as the ledger has it."""
        command, at = uuid.uuid4().hex, datetime.now(UTC) - ago
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                """INSERT INTO ledger_outcomes (recorded_at, admitted_at, started_at, state_at, command_id, partition,
                       attempt, hard, state, user_id, trigger, purpose) VALUES (now(), %(at)s, %(at)s, %(at)s, %(id)s,
                       0, 1, false, %(state)s, %(user)s, 'hello', %(purpose)s)""",
                {"at": at, "id": command, "state": state, "user": f"user-{command[:8]}", "purpose": purpose},
            )
        return command

    def a_link(self, command: str, url: str, *, stored: bool = True) -> str:
        """The path of a click on a link of the command's mail."""
        return self.links(command, [url])[0] if stored else path_of(LinkKind.CLICK, command, link_id(url))

    def links(self, command: str, urls: Sequence[str]) -> list[str]:
        """The paths of clicks on links of the command's mail, which are stored."""
        rows = [(link_id(url), url) for url in urls]
        with psycopg.connect(self.database_url) as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO links VALUES (%s, %s) ON CONFLICT DO NOTHING", rows)
        return [path_of(LinkKind.CLICK, command, id_) for id_, _ in rows]

    async def a_reader(self, consent: Mapping[str, bool] | None = None, **values: object) -> str:
        """The command of a mail whose user has a profile: an address, and consent to marketing if nothing is said."""
        command = self.a_mail()
        said = datetime.now(UTC) - LONG_AGO
        answers = {
            purpose: Consent(granted=granted, time=said, method="checkout", text_version="1")
            for purpose, granted in ({"marketing": True} if consent is None else consent).items()
        }
        user = f"user-{command[:8]}"
        values = {"address": f"{user}@example.net"} | values
        at_us = int(said.timestamp() * 1_000_000)
        assert not await self.store.store([ProfilePatch(user, at_us, "shop", values, {}, answers)])
        return command

    async def profile(self, command: str) -> Profile:
        """What is known of the user of this command's mail."""
        found = await StoredProfiles(self.store).read(f"user-{command[:8]}")
        assert found is not None
        return found

    def sent(self, *mails: str) -> list[SendCommand]:
        """The commands to send a mail to the users of these commands' mails, in their order."""
        users = {f"user-{command[:8]}".encode() for command in mails}
        records = [record for record in read_all(self.kafka, COMMANDS.name) if record.key() in users]
        return sorted((decode(SendCommand, record.value()) for record in records), key=lambda sent: sent.decided_at)

    async def post(self, path: str, **fields: str | Sequence[str]) -> AsgiAnswer:
        """The answer to a form that a browser sends."""
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return await self.request("POST", path, BROWSER | headers, urlencode(fields, doseq=True).encode())

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AsgiAnswer:
        """The answer to a request."""
        return await asgi_request(self.part.app, method, path, BROWSER if headers is None else headers, body)

    async def recorded(self, *commands: str) -> list[Outcome]:
        """The outcomes of these commands, in their order on the topic, once all hits are recorded."""
        await self.part.recorder.drain()
        return [outcome for outcome in readable_outcomes(self.kafka) if outcome.command_id in commands]


def path_of(kind: LinkKind, command: str, link: bytes = b"") -> str:
    """The path of a link."""
    return PAGES.address(kind, command, link).removeprefix(PAGES.origin)


@asynccontextmanager
async def recipient_edge(kafka: str, database_url: str, ledger_url: str = "") -> AsyncIterator[RecipientEdge]:
    """The edge, running."""
    settings = WebSettings(
        kafka=kafka,
        database_url=database_url,
        ledger_url=ledger_url,
        public_url=PAGES.origin,
        link_keys=(SECRET,),
    )
    stores = Stores.of(settings)
    store = ProfileStore(*(AsyncDatabase(stores.ledger.url, stores.ledger.outage) for _ in range(2)))
    part = RecipientsPart(settings, stores, store, Watchdog())
    edge = RecipientEdge(kafka, ledger_url or database_url, part, store)
    running = asyncio.create_task(part.run())
    await asyncio.sleep(0)  # it has begun
    try:
        yield edge
    finally:
        await end_tasks([running])
        await part.close()
        await store.close()
