-- More kinds of keys: what a placement may be used for, the public half of a key pair, and bytes that placements share.
--
-- Everything that was made before could only encrypt. What was seen is written in other words now: the next look writes it anew.

ALTER TABLE placements ADD COLUMN purpose TEXT NOT NULL DEFAULT 'encrypt' CHECK (purpose IN ('encrypt', 'sign', 'mac'));

-- As `blob`: written once and never updated.
ALTER TABLE copies ADD COLUMN public_key TEXT;

-- The placement that the bytes were made for, where another one shares them: as above.
ALTER TABLE copies ADD COLUMN bytes_of TEXT;

DELETE FROM inventories;
