-- Version 6: copies outside of what came back are known for long; routes say which events they want;
-- requests that were not verified can be kept apart.

-- A dead letter that was put back and then delivered. Nothing else remembers it once the journal has gone on, and a copy
-- that was exported would be taken for a fresh event. The newest are kept.
CREATE TABLE returned (
    number   INTEGER PRIMARY KEY,
    event_id BLOB    NOT NULL,
    route    INTEGER NOT NULL REFERENCES routes (id)
);
CREATE UNIQUE INDEX returned_event ON returned (event_id, route);

-- The expression of `when` that the route last ran with.
ALTER TABLE routes ADD COLUMN filter TEXT;

-- A request that did not prove where it comes from. Its event has every header and the whole path.
CREATE TABLE quarantine (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB    NOT NULL UNIQUE, -- what its sender was told
    source      TEXT    NOT NULL,
    received_at INTEGER NOT NULL,        -- microseconds
    reason      TEXT    NOT NULL,
    event       BLOB    NOT NULL
);
CREATE INDEX quarantine_source ON quarantine (source, number);
