-- The first patterns with one of these findings.
SELECT finding, pattern_id
FROM differences WHERE finding = ANY($1) ORDER BY pattern_id LIMIT $2
