-- Record why the current rules refuse a letter.
UPDATE dead_letters
SET reason = $5, detail = $6
WHERE topic = $1 AND partition = $2 AND "offset" = $3 AND record_timestamp = $4
  AND (reason, detail) IS DISTINCT FROM ($5, $6)
