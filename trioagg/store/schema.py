"""The tables, and the contract's views over them.

Prices and amounts are text in the tables, digit for digit, and doubles in the views; the levels of a book are JSON in
both, ``[["price","amount"],…]``, best first. ``trade_id`` is an integer where the exchange numbers its trades upwards
(and 64 bits hold it), so that the key of one market is ordered by it, and text elsewhere. ``gap`` has a row for each
part of a gap that has a fate of its own; ``origin``, the first id that was missing, holds them together. Where no
ids are counted, ``since`` and ``until`` are the times of the trades at both ends, ``before`` and ``after`` their ids.
The views join crosswise, which SQLite takes as an order: from the few instruments to their rows by key, whatever is
asked.
"""

from __future__ import annotations

from collections.abc import Sequence

APPLICATION_ID = 0x54724167
"""Says in the file's header that it is ours: ``TrAg``."""

VERSION_1 = """
CREATE TABLE instrument (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    symbol TEXT NOT NULL,
    native TEXT,
    base TEXT,
    quote TEXT,
    tick_size TEXT,
    amount_step TEXT,
    contract_size TEXT,
    amount_unit TEXT,
    status TEXT,
    UNIQUE (exchange, symbol)
) STRICT;

CREATE TABLE trade (
    instrument INTEGER NOT NULL REFERENCES instrument,
    trade_id ANY NOT NULL,
    price TEXT NOT NULL,
    amount TEXT NOT NULL,
    side TEXT NOT NULL,
    timestamp INTEGER,
    received INTEGER NOT NULL,
    PRIMARY KEY (instrument, trade_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX trade_by_time ON trade (instrument, coalesce(timestamp, received)) WHERE typeof(trade_id) = 'text';

CREATE TABLE ticker (
    instrument INTEGER NOT NULL REFERENCES instrument,
    received INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    bid TEXT,
    bid_size TEXT,
    ask TEXT,
    ask_size TEXT,
    last TEXT,
    volume TEXT,
    timestamp INTEGER,
    PRIMARY KEY (instrument, received, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE candle (
    instrument INTEGER NOT NULL REFERENCES instrument,
    interval TEXT NOT NULL,
    open_time INTEGER NOT NULL,
    open TEXT NOT NULL,
    high TEXT NOT NULL,
    low TEXT NOT NULL,
    close TEXT NOT NULL,
    volume TEXT NOT NULL,
    closed INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (instrument, interval, open_time)
) STRICT, WITHOUT ROWID;

CREATE TABLE book (
    instrument INTEGER NOT NULL REFERENCES instrument,
    received INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    bids TEXT NOT NULL,
    asks TEXT NOT NULL,
    timestamp INTEGER,
    PRIMARY KEY (instrument, received, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE funding_rate (
    instrument INTEGER NOT NULL REFERENCES instrument,
    received INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    rate TEXT NOT NULL,
    mark TEXT,
    "index" TEXT,
    due INTEGER,
    timestamp INTEGER,
    PRIMARY KEY (instrument, received, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE interest (
    instrument INTEGER NOT NULL REFERENCES instrument,
    received INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    amount TEXT NOT NULL,
    timestamp INTEGER,
    PRIMARY KEY (instrument, received, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE liquidation (
    instrument INTEGER NOT NULL REFERENCES instrument,
    received INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    side TEXT NOT NULL,
    price TEXT NOT NULL,
    amount TEXT NOT NULL,
    timestamp INTEGER,
    PRIMARY KEY (instrument, received, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE gap (
    id INTEGER PRIMARY KEY,
    instrument INTEGER NOT NULL REFERENCES instrument,
    channel TEXT NOT NULL,
    origin ANY NOT NULL,
    first_missing ANY,
    last_missing ANY,
    missing INTEGER,
    cause TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'filled', 'unfillable')),
    detected INTEGER NOT NULL,
    closed INTEGER
) STRICT;

CREATE INDEX gap_by_instrument ON gap (instrument);

CREATE INDEX gap_by_origin ON gap (instrument, channel, origin);

CREATE INDEX gap_open ON gap (status) WHERE status = 'open';

CREATE TABLE quarantined (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    received INTEGER NOT NULL,
    digest BLOB NOT NULL,
    reason TEXT NOT NULL,
    payload ANY NOT NULL,
    UNIQUE (exchange, received, digest)
) STRICT;

CREATE VIEW instruments AS
SELECT exchange, symbol, native, base, quote,
    CAST(tick_size AS REAL) AS tick_size, CAST(amount_step AS REAL) AS amount_step,
    CAST(contract_size AS REAL) AS contract_size, amount_unit, status
FROM instrument;

CREATE VIEW trades AS
SELECT exchange, symbol, CAST(trade_id AS TEXT) AS trade_id,
    CAST(price AS REAL) AS price, CAST(amount AS REAL) AS amount, side, timestamp, received
FROM instrument CROSS JOIN trade ON trade.instrument = instrument.id;

CREATE VIEW tickers AS
SELECT exchange, symbol, CAST(bid AS REAL) AS bid, CAST(bid_size AS REAL) AS bid_size,
    CAST(ask AS REAL) AS ask, CAST(ask_size AS REAL) AS ask_size, CAST(last AS REAL) AS last,
    CAST(volume AS REAL) AS volume, timestamp, received
FROM instrument CROSS JOIN ticker ON ticker.instrument = instrument.id;

CREATE VIEW candles AS
SELECT exchange, symbol, interval, open_time, CAST(open AS REAL) AS open, CAST(high AS REAL) AS high,
    CAST(low AS REAL) AS low, CAST(close AS REAL) AS close, CAST(volume AS REAL) AS volume, closed, received
FROM instrument CROSS JOIN candle ON candle.instrument = instrument.id;

CREATE VIEW books AS
SELECT exchange, symbol, bids, asks, timestamp, received
FROM instrument CROSS JOIN book ON book.instrument = instrument.id;

CREATE VIEW funding AS
SELECT exchange, symbol, CAST(rate AS REAL) AS rate, CAST(mark AS REAL) AS mark,
    CAST("index" AS REAL) AS "index", due, timestamp, received
FROM instrument CROSS JOIN funding_rate ON funding_rate.instrument = instrument.id;

CREATE VIEW open_interest AS
SELECT exchange, symbol, CAST(amount AS REAL) AS amount, timestamp, received
FROM instrument CROSS JOIN interest ON interest.instrument = instrument.id;

CREATE VIEW liquidations AS
SELECT exchange, symbol, side, CAST(price AS REAL) AS price, CAST(amount AS REAL) AS amount, timestamp, received
FROM instrument CROSS JOIN liquidation ON liquidation.instrument = instrument.id;

CREATE VIEW gaps AS
SELECT exchange, symbol, channel, CAST(first_missing AS TEXT) AS first_missing,
    CAST(last_missing AS TEXT) AS last_missing, missing, cause, gap.status AS status, detected, closed
FROM instrument CROSS JOIN gap ON gap.instrument = instrument.id;

CREATE VIEW quarantine AS
SELECT exchange, received, reason, payload FROM quarantined;
"""

VERSION_2 = """
CREATE TABLE quote (
    instrument INTEGER NOT NULL REFERENCES instrument,
    received INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    bid TEXT,
    bid_size TEXT,
    ask TEXT,
    ask_size TEXT,
    timestamp INTEGER,
    PRIMARY KEY (instrument, received, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE delta (
    instrument INTEGER NOT NULL REFERENCES instrument,
    received INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    bids TEXT NOT NULL,
    asks TEXT NOT NULL,
    whole INTEGER NOT NULL,
    timestamp INTEGER,
    PRIMARY KEY (instrument, received, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    connection TEXT NOT NULL,
    subscriptions INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    closed INTEGER,
    reason TEXT NOT NULL,
    missed INTEGER,
    UNIQUE (exchange, connection, opened)
) STRICT;

CREATE INDEX session_by_time ON session (exchange, opened);

ALTER TABLE gap ADD COLUMN since INTEGER;

ALTER TABLE gap ADD COLUMN until INTEGER;

ALTER TABLE gap ADD COLUMN "before" TEXT;

ALTER TABLE gap ADD COLUMN "after" TEXT;

CREATE VIEW sessions AS
SELECT exchange, connection, subscriptions, opened, closed, reason, missed FROM session;

CREATE TABLE clock (
    exchange TEXT NOT NULL,
    received INTEGER NOT NULL,
    "offset" INTEGER,
    uncertainty INTEGER,
    lag INTEGER,
    PRIMARY KEY (exchange, received)
) STRICT, WITHOUT ROWID;

CREATE VIEW clocks AS
SELECT exchange, "offset", uncertainty, lag, received FROM clock;

CREATE VIEW quotes AS
SELECT exchange, symbol, CAST(bid AS REAL) AS bid, CAST(bid_size AS REAL) AS bid_size,
    CAST(ask AS REAL) AS ask, CAST(ask_size AS REAL) AS ask_size, timestamp, received
FROM instrument CROSS JOIN quote ON quote.instrument = instrument.id;

CREATE VIEW deltas AS
SELECT exchange, symbol, bids, asks, whole, timestamp, received
FROM instrument CROSS JOIN delta ON delta.instrument = instrument.id;
"""

VERSION_3 = """
ALTER TABLE gap ADD COLUMN filled_by TEXT;

DROP VIEW gaps;

CREATE VIEW gaps AS
SELECT exchange, symbol, channel, CAST(first_missing AS TEXT) AS first_missing,
    CAST(last_missing AS TEXT) AS last_missing, missing, cause, gap.status AS status, detected, closed, filled_by
FROM instrument CROSS JOIN gap ON gap.instrument = instrument.id;
"""

SCRIPTS: Sequence[str] = (VERSION_1, VERSION_2, VERSION_3)
"""``SCRIPTS[n]`` takes a file from version n to n + 1; one that was released is never edited."""
