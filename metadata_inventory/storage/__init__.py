"""MongoDB: how a record is laid down, how work is claimed, and the embedded server."""
