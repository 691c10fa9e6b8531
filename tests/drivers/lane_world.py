"""A lane board in a simulated world: limits that answer at once, servers that say what they should, its own clock."""

from collections import Counter
from collections.abc import Callable

from senders.shaping.automation import ReplyWatch, SeenReply
from senders.shaping.bindings import Binding
from senders.shaping.document import SmtpState
from senders.shaping.gcra import SECOND_US, LimitRow, PacedLimit, PermitRequest, grant
from senders.shaping.lane_board import LaneBoard
from senders.shaping.lane_decider import FailedMail, LaneBegin
from senders.shaping.loader import parse
from senders.shaping.permits import ClockReading, PermitBook
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind

BEGIN_US = 1_800_000_000 * SECOND_US
TAKEN = "250 2.0.0 Ok"
FREE = '[default]\nmax_message_rate = "100000/s"\nmax_connection_rate = "100000/s"\nconnection_limit = 50\n'
"""A shaping file under which nothing waits."""


class LaneWorld:
    """One worker. `answers` says what a server replies to a mail that begins."""

    def __init__(self, text: str, answers: Callable[[LaneBegin], str] = lambda _: TAKEN) -> None:
        self.now_us = BEGIN_US
        self.answers = answers
        self.rows: dict[str, LimitRow] = {}
        self.books: dict[str, PermitBook] = {}
        self.board = LaneBoard(parse(text.encode(), "f"), self._book)
        self.watch = ReplyWatch()
        self.begun: list[tuple[int, LaneBegin]] = []
        self.failed: list[FailedMail] = []
        self.on_the_way: list[tuple[int, LaneBegin]] = []
        self.busy: Counter[str] = Counter()
        self.most_on_the_way: Counter[str] = Counter()
        self.opens: list[tuple[int, str]] = []
        self.mx: dict[str, list[str]] = {}
        """The hosts of a domain; `mx.DOMAIN` unless it is here. None at all: the lookup fails."""

    def _book(self, limit: PacedLimit) -> PermitBook:
        book = self.books.get(limit.name)
        if book is None or book.limit != limit:
            book = self.books[limit.name] = PermitBook(limit)
        return book

    def mail(
        self,
        number: int,
        domain: str = "d.example",
        purpose: str = "marketing",
        trigger: str = "t",
        priority: int = 50,
        last_source: str | None = None,
        *,
        blocked: bool = False,
    ) -> ShapedMail:
        """Adds a mail that is due now."""
        kind = TrafficKind(trigger, purpose, "shop.example")
        mail = ShapedMail(f"m{number}", domain, kind, priority, self.now_us, last_source, blocked)
        self.board.add(mail)
        return mail

    def run(self, seconds: float, takes_us: int = 50_000, tick_us: int = 5_000) -> list[LaneBegin]:
        """Lets time pass; each mail takes so long. Returns what began."""
        first = len(self.begun)
        ends_us = self.now_us + round(seconds * SECOND_US)
        while self.now_us < ends_us:
            self._answer(takes_us)
            self._decide()
            self.now_us += tick_us
        return [begin for _, begin in self.begun[first:]]

    def binding(self, mail: ShapedMail) -> Binding:
        """What a mail waits for."""
        found = self.board.binding(mail.id)
        assert found is not None, "the mail does not wait"
        return found

    def _decide(self) -> None:
        for _ in range(10):  # permits, connections and lookups come at once
            decision = self.board.decide(ClockReading(self.now_us, self.now_us))
            for begin in decision.begins:
                self.begun.append((self.now_us, begin))
                self.on_the_way.append((self.now_us, begin))
                lane = str(begin.lane)
                self.busy[lane] += 1
                self.most_on_the_way[lane] = max(self.most_on_the_way[lane], self.busy[lane])
            self.failed += decision.failed
            for key, count in decision.opens.items():
                for _ in range(count):
                    self.opens.append((self.now_us, str(key)))
                    self.board.opened(key)
            for request in decision.permits:
                self._grant(request)
            for domain in decision.lookups:
                hosts = self.mx.get(domain, [f"mx.{domain}"])
                if hosts:
                    self.board.looked_up(Destination.of(domain, hosts))
                else:
                    self.board.lookup_failed(domain, self.now_us + SECOND_US)
            if not (decision.permits or decision.opens or decision.lookups):
                return

    def _grant(self, request: PermitRequest) -> None:
        limit, row = request.limit, self.rows.get(request.limit.name, LimitRow())
        granted, self.rows[limit.name] = grant(request, row, self.now_us)
        book = self._book(limit)
        if granted is None:
            book.spent(row.arrival_us - limit.tolerance_us - request.ahead_us)
        else:
            book.add(granted, ClockReading(self.now_us, self.now_us))
        self.board.granted([limit.name])

    def _answer(self, takes_us: int) -> None:
        ready = [each for each in self.on_the_way if each[0] + takes_us <= self.now_us]
        self.on_the_way = [each for each in self.on_the_way if each[0] + takes_us > self.now_us]
        for _, begin in ready:
            self.busy[str(begin.lane)] -= 1
            text = self.answers(begin)
            reply = SeenReply(text, SmtpState.RCPT, self.now_us)
            self.board.ended(begin.lane, self.now_us, taken=text.startswith("2"))
            if not text.startswith("2"):
                self.board.act(self.watch.see(begin.egress, begin.mail.kind, reply))
