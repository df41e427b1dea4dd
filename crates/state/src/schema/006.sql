-- Version 6: copies outside of what came back are known for long; routes say which events they want.

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
