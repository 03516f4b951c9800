-- All dead letters with their reasons.
SELECT topic, partition, "offset", reason, detail, value FROM dead_letters ORDER BY noticed_at
