-- A copy is bound to the profile and the approvals under which its bytes were made. What was made before is bound to neither, and its
-- change sets say no end: only a database without any is taken on (`migrate` refuses the others by name).

-- As `blob`: written once and never updated.
ALTER TABLE copies ADD COLUMN profile TEXT NOT NULL;

-- The rule of approval as JSON: as above.
ALTER TABLE copies ADD COLUMN approvals TEXT NOT NULL;
