"""Every dialect against its adapter: what the built-in exchange says, the adapter understands, as it happened."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from trioagg import exchanges, simulator
from trioagg.exchanges import Action, Connect, Exchange, Feed, Fetch, Hole, Missed, Output, Refused, Send, Subscription
from trioagg.model import CHANNELS, Book, Channel, Nanos, Quarantined, Quote, Ticker, Trade
from trioagg.pipeline.drift import known, paths
from trioagg.simulator import SCALE, Dialect, Request, Session, Source, Span
from trioagg.simulator.dialects._kit import TopicSession, daily, interest, timed
from trioagg.simulator.market import Market

SECOND = 1_000_000_000
MS = 1_000_000
NOON = 1_772_452_800 * SECOND
ASKED = ("BTC/USDT", "BTC/USD", "BTC/USDT:USDT", "BTC/USDC:USDC", "BTC/USD:USD", "BTC/USD:BTC")
NAMES = simulator.names()


class Talk:
    """An adapter and a session of the built-in exchange, joined without a wire."""

    def __init__(self, name: str, *channels: Channel, symbols: tuple[str, ...] = ASKED, rate: float = 200.0) -> None:
        kind, speaker = exchanges.load(name), simulator.load(name)
        self.source: Source = Market(symbols=[s for s in symbols if speaker.lists(s)], rate=rate, lists=speaker.lists)
        self.dialect: Dialect = speaker(self.source)
        listed = [item for fetch in kind.listing() for item in kind.instruments(fetch, self.body(fetch, NOON))]
        self.symbols = [item.symbol for item in listed if item.symbol in symbols]
        wanted = [
            Subscription(item.symbol, channel, item.native)
            for item in listed
            if item.symbol in symbols
            for channel in channels
            if channel in kind.channels()
        ]
        self.feed = Feed(wanted, [item for item in listed if item.symbol in symbols])
        self.kind, self.now = kind, NOON
        streamed = [item for item in wanted if item.channel in kind.streamed]
        self.links = [self._link(list(some)) for some in kind.connections(streamed)]
        self.out: list[Output] = []
        self.frames: list[bytes] = []

    def body(self, fetch: Fetch, now: Nanos) -> bytes:
        """The answer to a request."""
        url = urlsplit(fetch.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        method, body = ("GET", b"") if fetch.body is None else ("POST", fetch.body.encode())
        answer = self.dialect.answer(Request(method, url.path, query, body=body), now)
        assert answer.status == 200, f"{fetch.path}: {answer.status} {answer.body[:200]!r}"
        return answer.body

    def _link(self, some: list[Subscription]) -> tuple[Exchange, Session]:
        adapter = self.kind(Feed(some, self.feed.instruments, board=self.feed.board))
        steps = list(adapter.begin())
        while not isinstance(steps[0], Connect):
            assert isinstance(steps[0], Fetch)
            steps = cast(list[Action], adapter.answered(steps[0], self.body(steps[0], NOON), NOON))
        path = urlsplit(steps[0].path)
        session = self.dialect.session(path.path + (f"?{path.query}" if path.query else ""))
        assert session is not None, steps[0].path
        return adapter, session

    def talk(self, seconds: float, *, step: float = 0.005) -> list[Output]:
        """Let time pass; what the adapters made of it."""
        for adapter, session in self.links if self.now == NOON else ():
            self._act(adapter, session, list(adapter.opened()))
        end = self.now + round(seconds * SECOND)
        while self.now < end:
            after = min(self.now + round(step * SECOND), end)
            for adapter, session in self.links:
                if adapter.heartbeat and (after // SECOND) % int(adapter.heartbeat.every) == 0 != self.now // SECOND:
                    self._hear(adapter, session, session.received(adapter.heartbeat.text, after))
                self._hear(adapter, session, session.frames(self.now, after))
            self.now = after
        return self.out

    def _hear(self, adapter: Exchange, session: Session, frames: Sequence[bytes]) -> None:
        self.frames += frames
        for frame in frames:
            self._act(adapter, session, adapter.digest([frame], self.now))

    def _act(self, adapter: Exchange, session: Session, out: list[Output]) -> None:
        self.out += out
        for item in out:
            if isinstance(item, Send):
                self._hear(adapter, session, session.received(item.text, self.now))
            elif isinstance(item, Fetch):
                self._act(adapter, session, adapter.answered(item, self.body(item, self.now), self.now))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each exchange that can be played."""
    return str(request.param)


def order(trade: Trade) -> tuple[int, int]:
    """By time, and where they share one, by number."""
    return trade.timestamp or 0, trade.trade_id if isinstance(trade.trade_id, int) else 0


@cache
def talked(name: str) -> Talk:
    """A talk about everything that an exchange has, eight seconds long."""
    talk = Talk(name, *Channel)
    talk.talk(8, step=0.05)
    return talk


def readable(frame: bytes) -> object:
    """A frame as JSON; some say a bare word."""
    try:
        return msgspec.json.decode(frame)
    except msgspec.DecodeError:
        return None


def understood(out: list[Output]) -> bool:
    """Whether nothing was refused, garbled or missed."""
    return not [item for item in out if isinstance(item, Quarantined | Refused | Missed)]


def test_every_adapter_has_a_dialect() -> None:
    """What can be collected can be played."""
    assert set(simulator.names()) == set(exchanges.names())


def test_every_channel_speaks(name: str) -> None:
    """Each channel that the adapter streams brings events of every market that has it, and nothing else."""
    talk = talked(name)
    out = talk.out

    assert talk.symbols and understood(out), [o for o in out if isinstance(o, Quarantined | Refused | Missed)][:3]
    heard = {CHANNELS[type(item)] for item in out if type(item) in CHANNELS}
    assert heard >= talk.kind.streamed, talk.kind.streamed - heard


def test_no_field_is_unknown(name: str) -> None:
    """The transcript knows every field of every frame, so that the built-in exchange brings no schema drift."""
    told = {path for frame in talked(name).frames for path in paths(readable(frame))}

    assert told - known(name) == set()


def test_every_trade_comes_once_as_it_happened(name: str) -> None:
    """Ids, prices, amounts, sides and times to the millisecond, from the first second on."""
    talk = Talk(name, Channel.TRADES)
    out = talk.talk(3)

    assert understood(out)
    for symbol in talk.symbols:
        after = NOON + SECOND
        came = {
            t.trade_id: t for t in out if isinstance(t, Trade) and t.symbol == symbol and (t.timestamp or 0) > after
        }
        there = list(
            talk.source.prints(symbol, talk.source.before(symbol, after), talk.source.before(symbol, talk.now))
        )
        there = [trade for trade in there if trade[1] // MS * MS > after][:-2]
        assert len(came) >= len(there) > 10, symbol
        found = sorted(
            came.values(),
            key=lambda trade: (trade.timestamp or 0, int(trade.trade_id) if str(trade.trade_id).isdecimal() else 0),
        )
        assert len({trade.trade_id for trade in found}) == len(found)
        for trade, (_, at, price, _, buy) in zip(found, there, strict=False):
            assert trade.price == Decimal(price) / SCALE and trade.side == ("buy" if buy else "sell")
            assert trade.timestamp is not None and abs(trade.timestamp - at) < MS


def test_the_book_is_the_exchange_s(name: str) -> None:
    """Every change of the best prices, and every snapshot, is what stood in the market."""
    if Channel.BOOK not in exchanges.load(name).streamed:
        pytest.skip("no book")
    talk = Talk(name, Channel.BOOK)
    out = talk.talk(4)

    assert understood(out)
    for symbol in talk.symbols:
        books = [item for item in out if isinstance(item, Book) and item.symbol == symbol]
        quotes = [item for item in out if isinstance(item, Quote) and item.symbol == symbol]
        assert len(books) >= 3 and len(quotes) > 3, symbol
        stamp = books[-1].timestamp or books[-1].received
        seen = {talk.source.update(symbol, stamp + shift * 1_000_000) for shift in range(-1100, 1101)}
        standing = [talk.source.book(symbol, update) for update in seen]
        prices = [price for price, _ in books[-1].bids[:5]]
        assert prices in [[Decimal(p) / SCALE for p, _ in bids[: len(prices)]] for bids, _ in standing], symbol


def test_polls_are_answered(name: str) -> None:
    """Each repeated request brings something that is understood."""
    talk = Talk(name, *Channel)
    adapter, brought = talk.kind(talk.feed), set[Channel]()
    for fetch in adapter.polls():
        out = adapter.answered(fetch, talk.body(fetch, NOON), NOON)
        assert understood(out), (fetch.path, out[:2])
        brought |= {CHANNELS[type(item)] for item in out if type(item) in CHANNELS}
    assert brought >= talk.kind.polled - {Channel.TICKER}


def test_a_hole_is_told_by_rest(name: str) -> None:
    """Where the adapter knows how to ask for missing trades, the answers bring them, page by page."""
    talk = Talk(name, Channel.TRADES, rate=20)
    adapter = talk.kind(talk.feed)
    item = talk.feed.instruments[0]
    first, end = (talk.source.before(item.symbol, NOON - back * SECOND) for back in (8, 4))
    around = [next(iter(talk.source.prints(item.symbol, n, n + 1))) for n in (first - 1, end)]
    hole = Hole(item.symbol, item.native, first, end - 1, around[0][1], around[1][1])
    fetch = adapter.missing(hole)
    if fetch is None:
        pytest.skip("this exchange does not tell what was missed")
    out = adapter.answered(fetch, talk.body(fetch, NOON), NOON)

    assert understood(out)
    stamps = [trade.timestamp for trade in out if isinstance(trade, Trade) and trade.timestamp]
    unit = SECOND if all(stamp % SECOND == 0 for stamp in stamps) else MS
    times = {stamp // unit for stamp in stamps}
    wanted = {at // unit for _, at, *_ in talk.source.prints(item.symbol, first, end)}
    assert len(times & wanted) > 0.5 * len(wanted), fetch.path


def test_the_exchange_tells_its_time(name: str) -> None:
    """Where there is a request for it, to the second at least."""
    talk = Talk(name, Channel.TRADES)
    if talk.kind.clock is None:
        pytest.skip("this exchange does not tell its time")

    assert abs(talk.kind.time(talk.body(talk.kind.clock, NOON + 5)) - NOON) <= SECOND


def test_tickers_are_the_market_s(name: str) -> None:
    """A streamed best bid and ask is one that stood."""
    talk = Talk(name, Channel.TICKER)
    out = [item for item in talk.talk(2, step=0.02) if isinstance(item, Ticker)]

    assert understood(talk.out)
    for ticker in out[-5:]:
        stamp = ticker.timestamp or ticker.received
        seen = [talk.source.quote(ticker.symbol, stamp + shift * 1_000_000) for shift in range(-1100, 1101, 5)]
        assert ticker.bid is None or ticker.bid in {Decimal(quote[2]) / SCALE for quote in seen}


def test_a_topic_says_nothing_from_before_its_subscription() -> None:
    """However late the connection is: what it is asked for begins before."""

    class Said(TopicSession):
        """One that says its time."""

        def replies(self, text: str, now: Nanos) -> list[bytes]:
            self.begin(text, timed(SECOND, lambda at: str(at // SECOND).encode()))
            return []

        def unknown(self, now: Nanos) -> bytes:
            return b"?"

    session = Said()
    session.received("a", 5 * SECOND)

    assert session.frames(2 * SECOND, 4 * SECOND) == []
    assert session.frames(4 * SECOND, 7 * SECOND) == [b"5", b"6"]


@pytest.mark.parametrize("symbol", ["BTC/USDT", "PEPE/USDT"])
def test_open_interest_is_above_zero(symbol: str) -> None:
    """Of a market whose trades are worth millions of coins too."""
    market = Market(symbols=[symbol], rate=2000)

    assert all(interest(market, symbol, NOON + hour * 3600 * SECOND) > 0 for hour in range(24))


def test_a_day_is_added_up_once_a_second() -> None:
    """The prices in it are up to date all the same."""
    market, asked = Market(symbols=["BTC/USDT"], rate=200), list[Nanos]()

    class Watched(Market):
        """One that notes what is added up."""

        def span(self, symbol: str, start: Nanos, end: Nanos) -> Span:
            asked.append(end)
            return super().span(symbol, start, end)

    watched = Watched(symbols=["BTC/USDT"], rate=200)
    days = [daily(watched, "BTC/USDT", NOON + at * 100 * MS) for at in range(10)]

    assert asked == [NOON]
    before = [market.before("BTC/USDT", NOON + at * 100 * MS) - 1 for at in range(10)]
    lasts = [price for number in before for _, _, price, _, _ in market.prints("BTC/USDT", number, number + 1)]
    assert [day.close for day in days] == lasts and len(set(lasts)) > 1
    assert all(day.low <= day.close <= day.high for day in days)
