-- Which server works at a lane: all destinations that share their quota scopes. A lane belongs to one server at a time.
--
-- `holder`: NULL is nobody. `fence`: the fencing number, one higher for each holder. `beat` counts what the holder says of itself.
-- `span`: microseconds after a beat for which the holder may still have something on its way to a cloud.

CREATE TABLE leases (
    lane TEXT NOT NULL PRIMARY KEY,
    holder TEXT,
    fence INTEGER NOT NULL CHECK (fence > 0),
    beat INTEGER NOT NULL CHECK (beat >= 0),
    span INTEGER NOT NULL CHECK (span >= 0)
) STRICT;
