-- From here on wait for locks as the login does by itself.
SET LOCAL lock_timeout TO DEFAULT
