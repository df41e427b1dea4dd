-- Version 5: routes that the API makes.

-- A subscription is a route; it goes when that is retired.
CREATE TABLE subscriptions (
    id              BLOB    PRIMARY KEY, -- its 16 bytes, in the order of which they were made
    name            TEXT    NOT NULL UNIQUE,
    route           INTEGER NOT NULL UNIQUE REFERENCES routes (id),
    url             TEXT    NOT NULL,
    source          TEXT, -- NULL: all
    dead_letter_url TEXT,
    max_retries     INTEGER NOT NULL,
    retry_interval  INTEGER NOT NULL, -- microseconds
    until           INTEGER, -- deleted: it takes no event after this one
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER subscriptions_go AFTER UPDATE OF retired_at ON routes WHEN NEW.retired_at IS NOT NULL BEGIN
    DELETE FROM subscriptions WHERE route = NEW.id;
END;
