-- Version 1. Times are microseconds since the Unix epoch. Sequence numbers fit SQLite's 63 bits.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Every HTTP source there ever was, with its paths as JSON: one that the configuration no longer has is told
-- 503 instead of 404, until it is forgotten.
CREATE TABLE sources (
    name  TEXT PRIMARY KEY,
    paths TEXT NOT NULL
) WITHOUT ROWID;

-- One row an incarnation: a name that was retired may be registered again.
CREATE TABLE routes (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    start      INTEGER NOT NULL, -- events through here came before the route
    cursor     INTEGER NOT NULL,
    accepted   INTEGER NOT NULL DEFAULT 0,
    delivered  INTEGER NOT NULL DEFAULT 0,
    discarded  INTEGER NOT NULL DEFAULT 0,
    damaged    INTEGER NOT NULL DEFAULT 0,
    paused     INTEGER NOT NULL DEFAULT 0,
    sources    TEXT    NOT NULL DEFAULT '[]', -- JSON; what the route took when it last ran
    created_at INTEGER NOT NULL,
    retired_at INTEGER
);
CREATE UNIQUE INDEX routes_name ON routes (name) WHERE retired_at IS NULL;

-- What is settled above a route's cursor. Few rows, replaced whole.
CREATE TABLE settled_ranges (
    route  INTEGER NOT NULL REFERENCES routes (id),
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (route, first)
) WITHOUT ROWID;

-- What was delivered when; kept for a while, to answer "what became of event X".
CREATE TABLE delivered_ranges (
    route    INTEGER NOT NULL REFERENCES routes (id),
    first    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (route, first)
) WITHOUT ROWID;
CREATE INDEX delivered_ranges_time ON delivered_ranges (last_at);

CREATE TABLE parked (
    route            INTEGER NOT NULL REFERENCES routes (id),
    seq              INTEGER NOT NULL,
    event_id         BLOB    NOT NULL,
    event            BLOB    NOT NULL,
    attempts         INTEGER NOT NULL,
    due_at           INTEGER NOT NULL,
    first_failure_at INTEGER NOT NULL,
    last_failure_at  INTEGER NOT NULL,
    cause_code       TEXT    NOT NULL,
    cause_detail     TEXT    NOT NULL,
    fingerprint      TEXT    NOT NULL,
    redrives         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (route, seq)
);
CREATE INDEX parked_due ON parked (route, due_at);
CREATE INDEX parked_event ON parked (event_id);

CREATE TABLE dead (
    route            INTEGER NOT NULL REFERENCES routes (id),
    seq              INTEGER NOT NULL,
    event_id         BLOB    NOT NULL,
    event            BLOB    NOT NULL,
    attempts         INTEGER NOT NULL,
    reason           TEXT    NOT NULL,
    first_failure_at INTEGER NOT NULL,
    last_failure_at  INTEGER NOT NULL,
    cause_code       TEXT    NOT NULL,
    cause_detail     TEXT    NOT NULL,
    fingerprint      TEXT    NOT NULL,
    redrives         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (route, seq)
);
CREATE INDEX dead_time ON dead (route, last_failure_at);
CREATE INDEX dead_fingerprint ON dead (route, reason, fingerprint);
CREATE INDEX dead_event ON dead (event_id);
