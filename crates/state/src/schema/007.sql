-- Version 7: what a source that cannot be asked again may have missed, and how it is filled.

-- Until when a source missed nothing, but for its gaps.
CREATE TABLE attended (
    source TEXT    PRIMARY KEY,
    until  INTEGER NOT NULL -- microseconds
) WITHOUT ROWID;

-- A stretch of time in which a source may have missed events of some topics.
CREATE TABLE gaps (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    source    TEXT    NOT NULL,
    begins    INTEGER NOT NULL,
    ends      INTEGER,            -- NULL while it is open
    topics    TEXT    NOT NULL,   -- a JSON array
    why       TEXT    NOT NULL,
    announced INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX gaps_source ON gaps (source, id);
CREATE INDEX gaps_pending ON gaps (source, id) WHERE announced = 0;

-- What happened in a stretch of time, asked for by another way.
CREATE TABLE backfills (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT    NOT NULL,
    begins      INTEGER NOT NULL,
    ends        INTEGER NOT NULL,
    gap         INTEGER,
    status      TEXT    NOT NULL DEFAULT 'running',
    job         TEXT,
    cursor      TEXT,
    events      INTEGER NOT NULL DEFAULT 0,
    error       TEXT,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER
);
CREATE INDEX backfills_source ON backfills (source, id);
CREATE INDEX backfills_running ON backfills (source, id) WHERE status = 'running';
