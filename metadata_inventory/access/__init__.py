"""Who may use the API, and how much work each client may start.

API keys with their scopes, and a token bucket for each client. No module here knows HTTP: `web/http` asks.
"""
