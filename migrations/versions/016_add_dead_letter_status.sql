-- 016: the status of each dead letter: open, redriven or discarded.
-- Apply by hand, after 015: psql -v ON_ERROR_STOP=1 -f 016_add_dead_letter_status.sql
-- Safe to repeat: it changes nothing if its work is done. A worker of an earlier release still runs: its dead letters
-- are open. The default is a constant, so the table is not rewritten, and the constraints are validated while readers
-- and writers keep working.
--
-- There is no index of the open letters: redrive uses the primary key, and only people read the list (0.4 s with a
-- million letters, measured). Building an index would make the worker wait.

\ir ../patiently.sql

CALL pattern_metrics_patiently(
    'ALTER TABLE dead_letters
        ADD COLUMN IF NOT EXISTS status text NOT NULL DEFAULT ''open'',
        ADD COLUMN IF NOT EXISTS resolved_at timestamptz,
        ADD COLUMN IF NOT EXISTS resolution text');

DO $$
DECLARE
    added record;
BEGIN
    FOR added IN
        SELECT name, expression
        FROM (VALUES
            ('dead_letters_status_check', 'status IN (''open'', ''redriven'', ''discarded'')'),
            ('dead_letters_resolved_at_check', '(status = ''open'') = (resolved_at IS NULL)')
        ) AS wanted (name, expression)
        WHERE NOT EXISTS (
            SELECT FROM pg_constraint WHERE conrelid = 'dead_letters'::regclass AND conname = wanted.name)
    LOOP
        CALL pattern_metrics_patiently(format(
            'ALTER TABLE dead_letters ADD CONSTRAINT %I CHECK (%s) NOT VALID', added.name, added.expression));
    END LOOP;
END
$$;

ALTER TABLE dead_letters VALIDATE CONSTRAINT dead_letters_status_check;
ALTER TABLE dead_letters VALIDATE CONSTRAINT dead_letters_resolved_at_check;

COMMENT ON COLUMN dead_letters.status IS
    'open, redriven (it was stored, or found superseded, later) or discarded (a person decided against it).';
COMMENT ON COLUMN dead_letters.resolved_at IS 'The time at which the letter was redriven or discarded; null while it is open.';
COMMENT ON COLUMN dead_letters.resolution IS 'The reason for which a person discarded the letter; null otherwise.';

DROP PROCEDURE pattern_metrics_patiently(text);
