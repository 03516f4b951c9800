"""The read API: the current rows for programs, at /v1, and for the page that uses it."""
