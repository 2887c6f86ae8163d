-- Proposed changes of the charter are kept under their digest, with their approvals, as change sets are. `serial`: that of the charter that
-- the change follows.

CREATE TABLE charter_proposals (
    digest      TEXT    NOT NULL PRIMARY KEY,
    serial      INTEGER NOT NULL CHECK (serial >= 0),
    proposed_at INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT;

CREATE TABLE charter_approvals (
    proposal  TEXT    NOT NULL REFERENCES charter_proposals (digest),
    approver  TEXT    NOT NULL,
    signature TEXT    NOT NULL,
    given_at  INTEGER NOT NULL,
    PRIMARY KEY (proposal, approver)
) STRICT;

-- A change set says since format 3 how bytes were made that it imports and did not make. Those of before that are open are dropped: the
-- next plan continues with what they left, in the new format.

UPDATE change_sets SET state = 'dropped', ended_at = proposed_at, end_reason = 'planned by an older program'
    WHERE state IN ('proposed', 'committed');
