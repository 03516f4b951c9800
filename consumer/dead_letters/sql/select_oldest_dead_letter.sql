-- How many seconds ago the oldest open dead letter was noticed.
SELECT extract(epoch FROM now() - min(noticed_at))::double precision FROM dead_letters WHERE status = 'open'
