-- The age of the oldest open dead letter in seconds.
SELECT extract(epoch FROM now() - min(noticed_at))::double precision FROM dead_letters WHERE status = 'open'
