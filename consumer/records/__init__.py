"""A record, its fate and its batch. Pure: no I/O, no clock."""
