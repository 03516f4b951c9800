-- What was set aside, and why.
SELECT topic, partition, "offset", reason, detail, value FROM dead_letters ORDER BY noticed_at
