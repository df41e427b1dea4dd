-- Version 4: which dead letters each target has, redrives that begin by themselves, letters that were edited.

-- How far a target had come with a route's letters, and when: one row a minute of progress. The last says where it
-- goes on; the others, which letters it has had for how long.
CREATE TABLE exports (
    route   INTEGER NOT NULL REFERENCES routes (id),
    target  TEXT    NOT NULL,
    through INTEGER NOT NULL, -- letters through here were dealt with
    at      INTEGER NOT NULL,
    PRIMARY KEY (route, target, through)
) WITHOUT ROWID;

-- Letters that a target would not take: they stay.
CREATE TABLE exports_refused (
    letter       INTEGER NOT NULL,
    target       TEXT    NOT NULL,
    route        INTEGER NOT NULL REFERENCES routes (id),
    at           INTEGER NOT NULL,
    cause_code   TEXT    NOT NULL,
    cause_detail TEXT    NOT NULL,
    PRIMARY KEY (letter, target)
) WITHOUT ROWID;
CREATE INDEX exports_refused_route ON exports_refused (route, target);
CREATE TRIGGER exports_refused_go AFTER DELETE ON dead BEGIN
    DELETE FROM exports_refused WHERE letter = OLD.letter;
END;

-- A redrive of what an outage buried is begun when that is over, and grows with what its route can take.
ALTER TABLE redrives ADD COLUMN ramped INTEGER NOT NULL DEFAULT 0;

-- What was done by hand to a dead letter, with what it was before. Stays when the letter has gone.
CREATE TABLE edits (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id     BLOB    NOT NULL,
    route        INTEGER NOT NULL REFERENCES routes (id),
    at           INTEGER NOT NULL,
    done_by      TEXT    NOT NULL,
    note         TEXT,
    body_before  BLOB    NOT NULL,
    bytes_after  INTEGER NOT NULL
);
CREATE INDEX edits_event ON edits (event_id);
