"""What the service is asked for: the use cases, over the ports."""
