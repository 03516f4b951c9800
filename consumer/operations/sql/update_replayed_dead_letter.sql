-- Mark an open letter whose record a replay stored, or found superseded, in the same transaction. A letter that a
-- redrive has locked is skipped, so that the two never deadlock.
UPDATE dead_letters
SET status = 'redriven', resolved_at = now()
WHERE (topic, partition, "offset", record_timestamp) = (
    SELECT topic, partition, "offset", record_timestamp FROM dead_letters
    WHERE topic = $1 AND partition = $2 AND "offset" = $3 AND record_timestamp = $4 AND status = 'open'
    FOR UPDATE SKIP LOCKED
)
