-- 016: the status of each dead letter: open, redriven or discarded.
-- Apply by hand, after 015: psql -v ON_ERROR_STOP=1 -f 016_add_dead_letter_status.sql
-- Safe to repeat: it changes nothing if its work is done. A worker of an earlier release still runs: its dead letters
-- are open. The default is a constant, so the table is not rewritten.
--
-- There is no index of the open letters: redrive uses the primary key, and only people read the list (0.4 s with a
-- million letters, measured). Building an index would make the worker wait.

ALTER TABLE dead_letters
    ADD COLUMN IF NOT EXISTS status text NOT NULL DEFAULT 'open'
        CONSTRAINT dead_letters_status_check CHECK (status IN ('open', 'redriven', 'discarded')),
    ADD COLUMN IF NOT EXISTS resolved_at timestamptz
        CONSTRAINT dead_letters_resolved_at_check CHECK ((status = 'open') = (resolved_at IS NULL)),
    ADD COLUMN IF NOT EXISTS resolution text;

COMMENT ON COLUMN dead_letters.status IS
    'open, redriven (it was stored, or found superseded, later) or discarded (a person decided against it).';
COMMENT ON COLUMN dead_letters.resolved_at IS 'The time at which the letter was redriven or discarded; null while it is open.';
COMMENT ON COLUMN dead_letters.resolution IS 'The reason for which a person discarded the letter; null otherwise.';
