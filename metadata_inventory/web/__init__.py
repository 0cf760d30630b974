"""The HTTP API: Tornado request handlers over the use cases. Only this package knows HTTP status codes."""
