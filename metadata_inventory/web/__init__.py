"""The HTTP API: Tornado handlers over the use cases. Only this package knows HTTP status codes."""
