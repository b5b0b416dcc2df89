"""HTX's sockets: topics, what they say, and the pings that want an answer."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Pair, Print, Source
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Change,
    Maker,
    TopicSession,
    books,
    forced,
    last_tick,
    next_funding,
    quotes,
    text,
    ticks,
    timed,
    trades,
)
from trioagg.simulator.dialects.htx.shapes import (
    PERIODS,
    bar,
    begins,
    best,
    book,
    day,
    deal,
    error,
    figure,
    is_swap,
    levels,
    native,
    rate,
)

EVERY = 100 * MILLI  # between two messages of a book
PING = 5 * SECOND
SOCKETS = {"/ws": 2, "/feed": 2, "/linear-swap-ws": 4, "/linear-swap-notification": 4}
"""Pings in a row that a client may leave unanswered."""
DEPTHS = {"5": 5, "20": 20, "150": 150, "400": 400, "size_20.high_freq": 20, "size_150.high_freq": 150}
WHOLE = {
    "step0": 150, "step1": 20, "step2": 20, "step3": 20, "step4": 20, "step5": 20, "step6": 20, "refresh.5": 5,
    "refresh.10": 10, "refresh.20": 20,
}  # fmt: skip
"""Topics of books that tell changes, and those that tell them whole: the levels of a side."""

Begun = tuple[Maker, list[bytes]]
"""What a topic says, and what it begins with."""
Say = Callable[[Nanos, object], bytes]


class Call(msgspec.Struct):
    """A message of the client, in either dialect."""

    sub: str = ""
    unsub: str = ""
    req: str = ""
    id: str | int | None = None
    data_type: str = ""
    pong: int | None = None
    op: str = ""
    cid: str | None = None
    topic: str = ""
    ts: str | int | None = None


class HtxSession(TopicSession):
    """One connection; everything is sent gzipped, and a ping every five seconds wants its number back."""

    binary = True

    def __init__(self, source: Source, symbols: Mapping[str, str], path: str) -> None:
        super().__init__()
        self._source, self._symbols, self._path = source, symbols, path
        self._notices, self._swaps = path.endswith("notification"), path.startswith("/linear")
        self._versions: dict[str, count[int]] = {}
        self._owed, self._pinged = 0, 0

    def packed(self, frame: bytes) -> bytes:
        """Gzip, a whole member for each frame."""
        return gzip.compress(frame, 1, mtime=0)

    def unasked(self, start: Nanos, end: Nanos) -> Sequence[bytes]:
        """Pings, until too many of them were not answered."""
        return [self._ping(at) for at in ticks(start, end, PING)]

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """Acknowledgements, refusals, and what a topic begins with."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [self._refused(Call(), "not json string", now)]
        told = call.ts if self._notices and call.op == "pong" else call.pong
        if told is not None:
            self._owed = 0 if str(told) == str(self._pinged) else self._owed
            return []
        if self._notices:
            return self._notice(call, now)
        return [self._pulled(call, now)] if call.req else self._topic(call, now)

    def unknown(self, now: Nanos) -> bytes:
        """A topic that the documentation does not have."""
        return text({"ch": "market.btcusdt.weather", "ts": now // MILLI, "tick": {"fog": True}})

    def _ping(self, at: Nanos) -> bytes:
        if self._owed >= SOCKETS[self._path]:
            raise Hangup(1003, "ping check expired")
        self._owed, self._pinged = self._owed + 1, at // MILLI
        return text({"op": "ping", "ts": str(self._pinged)} if self._notices else {"ping": self._pinged})

    def _refused(self, call: Call, said: str, now: Nanos) -> bytes:
        if self._notices:
            what = {"op": call.op or "error", "cid": call.cid, "topic": call.topic}
            return text({**what, "ts": now // MILLI, "err-code": 2012, "err-msg": said})
        return text({"id": call.id, **error(now, code="bad-request", said=said)})

    def _topic(self, call: Call, now: Nanos) -> Sequence[bytes]:
        pair, name = self._named(call.sub or call.unsub)
        if pair is None:
            return [self._refused(call, "invalid symbol" if name else "invalid topic", now)]
        if call.unsub and name not in self._topics:
            return [self._refused(call, "unsub with not subbed topic", now)]
        ack = {"id": call.id, "status": "ok", "ts": now // MILLI}
        if call.unsub:
            self.end(name)
            return [text(ack | {"unsubbed": call.unsub})]
        begun = self._begun(pair, name, now, incremental=call.data_type == "incremental")
        if begun is None:
            return [self._refused(call, "invalid topic", now)]
        self.begin(name, begun[0])
        return [text(ack | {"subbed": call.sub}), *begun[1]]

    def _named(self, topic: str) -> tuple[Pair | None, str]:
        """The market of a topic, and the topic in its proper spelling; no name where it is none at all."""
        house, code, kind = [*topic.split(".", 2), "", ""][:3]
        code = code.upper() if self._swaps else code
        symbol = self._symbols.get(code, "")
        here = house == "market" and symbol and is_swap(symbol) is self._swaps
        return self._source.pairs[symbol] if here else None, f"market.{code}.{kind}" if kind else ""

    def _begun(self, pair: Pair, name: str, now: Nanos, *, incremental: bool) -> Begun | None:
        """None where this socket has no such topic."""
        source, symbol, say = self._source, pair.symbol, _saying(name)
        kind, _, detail = name.split(".", 2)[2].partition(".")
        if (kind == "mbp" and detail in DEPTHS) is not (self._path == "/feed"):
            return None
        match kind:
            case "trade" if detail == "detail":
                last = source.before(symbol, now)
                old = [say(now, deal(pair, trade)) for trade in source.prints(symbol, last - 1, last)]
                return trades(source, symbol, lambda trade: say(trade[1], deal(pair, trade))), old
            case "bbo":
                return quotes(source, symbol, lambda quote: say(quote[1], best(pair, quote))), []
            case "detail" | "ticker" if not detail:
                return timed(SECOND, lambda at: say(at, day(source, pair, at))), []
            case "kline" if detail in PERIODS:
                length = PERIODS[detail]
                return timed(SECOND, lambda at: say(at, bar(source, pair, begins(at - 1, length), at))), []
        return self._book(pair, name, now, incremental=incremental) if kind in ("mbp", "depth") else None

    def _book(self, pair: Pair, name: str, now: Nanos, *, incremental: bool) -> Begun | None:
        """Changes where they are to be had, else the whole book each time; swaps begin with a snapshot."""
        kind, _, detail = name.split(".", 2)[2].partition(".")
        source, say, since = self._source, _saying(name), last_tick(now, EVERY)
        if detail in WHOLE:
            every = EVERY if kind == "mbp" or self._swaps else SECOND
            return timed(every, lambda at: say(at, self._whole(pair, at, WHOLE[detail]))), []
        if detail not in DEPTHS or detail.endswith("high_freq") is not self._swaps:
            return None
        depth = DEPTHS[detail]
        if not self._swaps:
            return books(
                source, pair.symbol, EVERY, lambda c: say(c.at, _change(pair, c)), depth=depth, since=since
            ), []
        versions = self._versions.setdefault(name, count(1))

        def event(at: Nanos, word: str, sides: Mapping[str, object]) -> bytes:
            update = source.update(pair.symbol, at)
            numbers = {"mrid": update, "id": update, "ts": at // MILLI, "version": next(versions), "event": word}
            return say(at, {"ch": name, **numbers, **sides})

        def write(c: Change) -> bytes:
            if not incremental:
                return event(c.at, "snapshot", book(source, pair, c.at, depth))
            return event(c.at, "update", {"bids": levels(pair, c.bids), "asks": levels(pair, c.asks)})

        first = event(since, "snapshot", book(source, pair, since, depth))
        return books(source, pair.symbol, EVERY, write, depth=depth, since=since), [first]

    def _whole(self, pair: Pair, at: Nanos, depth: int) -> dict[str, object]:
        update = self._source.update(pair.symbol, at)
        return {**book(self._source, pair, at, depth), "version": update, "seqNum": update}

    def _pulled(self, call: Call, now: Nanos) -> bytes:
        """The snapshot of a book that tells changes."""
        pair, name = self._named(call.req)
        kind, _, detail = call.req.partition(".")[2].partition(".")[2].partition(".")
        if pair is None or kind != "mbp" or detail not in DEPTHS or self._swaps:
            return self._refused(call, "invalid symbol" if name and pair is None else "invalid topic", now)
        since = last_tick(now, EVERY)
        sides = book(self._source, pair, since, DEPTHS[detail])
        told = {"seqNum": self._source.update(pair.symbol, since), "bids": sides["bids"], "asks": sides["asks"]}
        return text({"id": call.id, "rep": call.req, "status": "ok", "ts": now // MILLI, "data": told})

    def _notice(self, call: Call, now: Nanos) -> Sequence[bytes]:
        """The other dialect: ``public.CODE.kind``, or of all contracts."""
        house, code, kind = [*call.topic.split(".", 2), "", ""][:3]
        symbol = self._symbols.get(code.upper(), "")
        pairs = [
            pair for pair in self._source.pairs.values() if is_swap(pair.symbol) and code in ("*", native(pair.symbol))
        ]
        if house != "public" or kind not in ("funding_rate", "liquidation_orders") or not (symbol or code == "*"):
            return [self._refused(call, "invalid topic", now)]
        ack = text({"op": call.op, "cid": call.cid, "topic": call.topic, "ts": now // MILLI, "err-code": 0})
        if call.op == "unsub":
            self.end(call.topic)
            return [ack]
        if kind == "funding_rate":
            self.begin(call.topic, timed(5 * SECOND, lambda at: _rates(call.topic, pairs, at)))
            return [ack, _rates(call.topic, pairs, now)]
        makers = [forced(self._source, pair.symbol, partial(_forced, call.topic, pair)) for pair in pairs]
        self.begin(call.topic, lambda start, end: (frame for make in makers for frame in make(start, end)))
        return [ack]


def _saying(topic: str) -> Say:
    return lambda at, tick: text({"ch": topic, "ts": at // MILLI, "tick": tick})


def _change(pair: Pair, change: Change) -> dict[str, object]:
    sides = {"bids": levels(pair, change.bids), "asks": levels(pair, change.asks)}
    return {"seqNum": change.after, "prevSeqNum": change.before, **sides}


def _rates(topic: str, pairs: Sequence[Pair], at: Nanos) -> bytes:
    times = {"funding_time": str(at // MILLI), "settlement_time": str(next_funding(at) // MILLI)}
    rows = [{**rate(pair, at), **times} for pair in pairs]
    return text({"op": "notify", "topic": topic, "ts": at // MILLI, "data": rows})


def _forced(topic: str, pair: Pair, trade: Print) -> bytes:
    _, at, price, amount, buy = trade
    code, contracts = native(pair.symbol), amount // pair.step
    row = {
        "symbol": pair.base, "contract_code": code, "direction": "buy" if buy else "sell", "offset": "close",
        "volume": contracts, "price": figure(price), "created_at": at // MILLI, "amount": figure(amount),
        "trade_turnover": figure(amount * price // 10**8), "contract_type": "swap", "pair": code,
        "business_type": "swap",
    }  # fmt: skip
    return text({"op": "notify", "topic": topic, "ts": at // MILLI, "data": [row]})
