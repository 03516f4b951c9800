-- Rather give up than wait for a lock out of order: half a deadlock would be waiting for us.
SET LOCAL lock_timeout = '100ms'
