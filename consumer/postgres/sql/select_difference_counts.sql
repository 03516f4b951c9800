-- The number of patterns that differ, by finding.
SELECT finding, count(*) FROM differences GROUP BY finding
