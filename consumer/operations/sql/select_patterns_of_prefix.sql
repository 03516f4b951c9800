-- The patterns whose name begins with this text and has no further slash: a project may be named like a folder of another.
SELECT pattern_id, metadata ->> 'name' AS name
FROM pattern_quality_metrics
WHERE starts_with(metadata ->> 'name', $1) AND strpos(substr(metadata ->> 'name', length($1) + 1), '/') = 0
ORDER BY 2
