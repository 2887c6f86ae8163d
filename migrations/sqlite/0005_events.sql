-- What was written, when, who asked for it, and why: one row for each write, in the transaction of that write. Rows are only ever added.
--
-- `what`: the kind of event, as a word. `body`: the same with its details, as JSON.

CREATE TABLE events (
    sequence     INTEGER NOT NULL PRIMARY KEY CHECK (sequence > 0),
    at           INTEGER NOT NULL,
    actor        TEXT    NOT NULL,
    what         TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    key_id       TEXT,
    change_set   TEXT,
    placement_id TEXT,
    reason       TEXT
) STRICT;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are only ever added'); END;

CREATE TRIGGER events_are_not_removed BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are only ever added'); END;
