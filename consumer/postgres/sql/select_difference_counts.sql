-- How many patterns differ, by what is found.
SELECT finding, count(*) FROM differences GROUP BY finding
