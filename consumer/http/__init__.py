"""HTTP: the listening socket, the probes, and the server."""
