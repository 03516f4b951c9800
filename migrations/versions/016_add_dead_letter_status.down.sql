-- Down from 016: deletes the status of the dead letters. The letters stay, and all count as open again.

ALTER TABLE IF EXISTS dead_letters
    DROP COLUMN IF EXISTS status,
    DROP COLUMN IF EXISTS resolved_at,
    DROP COLUMN IF EXISTS resolution;
