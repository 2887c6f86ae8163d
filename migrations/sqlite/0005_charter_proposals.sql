-- A change set says since format 3 how bytes were made that it imports and did not make. Those of before that are open are dropped: the
-- next plan continues with what they left, in the new format.

UPDATE change_sets SET state = 'dropped', ended_at = proposed_at, end_reason = 'planned by an older program'
    WHERE state IN ('proposed', 'committed');
