-- A proposal that is being withdrawn has a state of its own, `ending`. SQLite cannot change a CHECK, so the table is made anew. Rows of
-- other tables refer to it: their references are checked when the transaction is committed, and have to lead to the new rows by then.

PRAGMA defer_foreign_keys = ON;

CREATE TABLE change_sets_before AS SELECT * FROM change_sets;

DROP TABLE change_sets;

-- `key_id`: a proposed change set may be for a key that is not there yet, so it refers to nothing.
CREATE TABLE change_sets (
    digest       TEXT    NOT NULL PRIMARY KEY,
    key_id       TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('proposed', 'ending', 'committed', 'done', 'dropped')),
    proposed_at  INTEGER NOT NULL,
    committed_at INTEGER,
    ended_at     INTEGER,
    end_reason   TEXT,
    body         TEXT    NOT NULL
) STRICT;

INSERT INTO change_sets (digest, key_id, state, proposed_at, committed_at, ended_at, end_reason, body)
    SELECT digest, key_id, state, proposed_at, committed_at, ended_at, end_reason, body FROM change_sets_before;

DROP TABLE change_sets_before;

-- A key has one open change set.
CREATE UNIQUE INDEX change_sets_open ON change_sets (key_id) WHERE state IN ('proposed', 'ending', 'committed');

-- The public keys under which copies were about to be wrapped, each before the custodian was asked. Rows are only ever added. `place`
-- numbers the wraps of a change set from 0.

CREATE TABLE wraps (
    change_set    TEXT    NOT NULL REFERENCES change_sets (digest),
    step          INTEGER NOT NULL CHECK (step >= 0),
    wrapped_under TEXT    NOT NULL,
    place         INTEGER NOT NULL CHECK (place >= 0),
    at            INTEGER NOT NULL,
    PRIMARY KEY (change_set, step, wrapped_under),
    UNIQUE (change_set, place)
) STRICT;

-- Of what was wrapped before, this is known.
INSERT INTO wraps (change_set, step, wrapped_under, place, at)
    SELECT change_set, step, wrapped_under, row_number() OVER (PARTITION BY change_set ORDER BY min(place)) - 1, min(begun_at)
    FROM attempts WHERE wrapped_under IS NOT NULL GROUP BY change_set, step, wrapped_under;

CREATE TRIGGER wraps_are_not_changed BEFORE UPDATE ON wraps BEGIN SELECT RAISE(ABORT, 'wraps are only ever added'); END;

CREATE TRIGGER wraps_are_not_removed BEFORE DELETE ON wraps BEGIN SELECT RAISE(ABORT, 'wraps are only ever added'); END;
