-- Store a refused record as a dead letter. A replay finds it there already.
INSERT INTO dead_letters (topic, partition, "offset", record_timestamp, key, value, headers, reason, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING
