-- The ledger: intents, keys and their copies, change sets and what became of them, what was seen, charters.
--
-- Ids, digests and words are text as the model writes them; times are microseconds since 1970-01-01T00:00:00Z; documents are
-- JSON text (RFC 8785). Columns are what is searched or constrained; the program checks every row again when it reads it.

CREATE TABLE keyplane_schema (
    version INTEGER NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE installation (
    place      INTEGER NOT NULL PRIMARY KEY CHECK (place = 1),
    id         TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE intents (
    revision INTEGER NOT NULL PRIMARY KEY CHECK (revision > 0),
    digest   TEXT    NOT NULL,
    author   TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    taken_at INTEGER NOT NULL,
    body     TEXT    NOT NULL
) STRICT;

CREATE TABLE keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    profile    TEXT    NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0)
) STRICT;

CREATE TABLE placements (
    key_id      TEXT    NOT NULL REFERENCES keys (id),
    id          TEXT    NOT NULL,
    destination TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    cloud       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    algorithm   TEXT    NOT NULL,
    incarnation INTEGER NOT NULL CHECK (incarnation >= 0),
    object      TEXT,
    claimed     INTEGER NOT NULL CHECK (claimed IN (0, 1)),
    published   INTEGER NOT NULL CHECK (published IN (0, 1)),
    PRIMARY KEY (key_id, id)
) STRICT;

CREATE TABLE versions (
    key_id       TEXT    NOT NULL REFERENCES keys (id),
    version      INTEGER NOT NULL CHECK (version >= 0),
    state        TEXT    NOT NULL
        CHECK (state IN ('pre-activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    created_at   INTEGER NOT NULL,
    activated_at INTEGER,
    PRIMARY KEY (key_id, version)
) STRICT;

-- The columns up to `blob` say which bytes a copy has, and are never updated.
CREATE TABLE copies (
    key_id        TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    placement_id  TEXT    NOT NULL,
    installation  TEXT    NOT NULL,
    algorithm     TEXT    NOT NULL,
    source        TEXT    NOT NULL CHECK (source IN ('derived', 'generated')),
    epoch         INTEGER NOT NULL CHECK (epoch >= 0),
    check_value   TEXT,
    blob          TEXT,
    material      TEXT,
    wrapped_under TEXT,
    imported_at   INTEGER,
    PRIMARY KEY (key_id, version, placement_id),
    FOREIGN KEY (key_id, version) REFERENCES versions (key_id, version)
) STRICT;

-- A proposed change set may be for a key that is not there yet: `key_id` refers to nothing.
CREATE TABLE change_sets (
    digest       TEXT    NOT NULL PRIMARY KEY,
    key_id       TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('proposed', 'committed', 'done', 'dropped')),
    proposed_at  INTEGER NOT NULL,
    committed_at INTEGER,
    ended_at     INTEGER,
    end_reason   TEXT,
    body         TEXT    NOT NULL
) STRICT;

-- A key has one open change set.
CREATE UNIQUE INDEX change_sets_open ON change_sets (key_id) WHERE state IN ('proposed', 'committed');

CREATE TABLE approvals (
    change_set TEXT    NOT NULL REFERENCES change_sets (digest),
    approver   TEXT    NOT NULL,
    signature  TEXT    NOT NULL,
    given_at   INTEGER NOT NULL,
    PRIMARY KEY (change_set, approver)
) STRICT;

-- `place` counts the attempts of a change set, oldest first, from 0.
CREATE TABLE attempts (
    id            TEXT    NOT NULL PRIMARY KEY,
    change_set    TEXT    NOT NULL REFERENCES change_sets (digest),
    place         INTEGER NOT NULL CHECK (place >= 0),
    step          INTEGER NOT NULL CHECK (step >= 0),
    ordinal       INTEGER NOT NULL CHECK (ordinal > 0),
    begun_at      INTEGER NOT NULL,
    wrapped_under TEXT,
    refused       TEXT,
    UNIQUE (change_set, place),
    UNIQUE (change_set, step, ordinal)
) STRICT;

CREATE TABLE receipts (
    change_set  TEXT    NOT NULL REFERENCES change_sets (digest),
    step        INTEGER NOT NULL CHECK (step >= 0),
    attempt     TEXT    REFERENCES attempts (id),
    outcome     TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (change_set, step)
) STRICT;

CREATE TABLE inventories (
    destination TEXT    NOT NULL PRIMARY KEY,
    seen_at     INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT;

CREATE TABLE charters (
    serial INTEGER NOT NULL PRIMARY KEY CHECK (serial >= 0),
    body   TEXT    NOT NULL
) STRICT;
