"""What origins send, read. Pure."""
