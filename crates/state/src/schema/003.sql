-- Version 3: dead letters have numbers, what waits is counted on the way, order by key, redrives.

-- A burial's number is never given again: work that froze its upper bound meets nothing buried later.
CREATE TABLE dead_numbered (
    letter           INTEGER PRIMARY KEY AUTOINCREMENT,
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
    order_key        BLOB,
    UNIQUE (route, seq)
);
INSERT INTO dead_numbered (route, seq, event_id, event, attempts, reason, first_failure_at, last_failure_at,
                           cause_code, cause_detail, fingerprint, redrives)
    SELECT route, seq, event_id, event, attempts, reason, first_failure_at, last_failure_at,
           cause_code, cause_detail, fingerprint, redrives
    FROM dead ORDER BY last_failure_at, route, seq;
DROP TABLE dead;
ALTER TABLE dead_numbered RENAME TO dead;
-- Each holds all that choosing and counting asks of it: the rows are as large as their events.
CREATE INDEX dead_time ON dead (route, last_failure_at, letter, reason);
CREATE INDEX dead_fingerprint ON dead (route, reason, fingerprint, letter, last_failure_at);
CREATE INDEX dead_event ON dead (event_id, route);
CREATE INDEX dead_letter ON dead (route, letter, last_failure_at, reason);

-- What an event is ordered by; 16 bytes, on routes that have an order.
ALTER TABLE parked ADD COLUMN order_key BLOB;
CREATE INDEX parked_key ON parked (route, order_key, seq) WHERE order_key IS NOT NULL;

-- Counting millions of rows each second would be no way to show how many there are.
ALTER TABLE routes ADD COLUMN parked_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE routes ADD COLUMN dead_rows INTEGER NOT NULL DEFAULT 0;
UPDATE routes SET parked_rows = (SELECT count(*) FROM parked WHERE route = routes.id),
                  dead_rows = (SELECT count(*) FROM dead WHERE route = routes.id);
CREATE TRIGGER parked_comes AFTER INSERT ON parked BEGIN
    UPDATE routes SET parked_rows = parked_rows + 1 WHERE id = NEW.route;
END;
CREATE TRIGGER parked_goes AFTER DELETE ON parked BEGIN
    UPDATE routes SET parked_rows = parked_rows - 1 WHERE id = OLD.route;
END;
CREATE TRIGGER dead_comes AFTER INSERT ON dead BEGIN
    UPDATE routes SET dead_rows = dead_rows + 1 WHERE id = NEW.route;
END;
CREATE TRIGGER dead_goes AFTER DELETE ON dead BEGIN
    UPDATE routes SET dead_rows = dead_rows - 1 WHERE id = OLD.route;
END;

-- Jobs that put dead letters back.
CREATE TABLE redrives (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    selection       TEXT    NOT NULL, -- JSON
    through         INTEGER NOT NULL, -- the last letter there was
    position        INTEGER NOT NULL DEFAULT 0, -- letters through here were looked at
    rate_per_second INTEGER,
    status          TEXT    NOT NULL,
    matched         INTEGER NOT NULL,
    moved           INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER
);
CREATE INDEX redrives_running ON redrives (id) WHERE status = 'running';
