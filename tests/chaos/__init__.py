"""The service under random kills: what it acknowledged is kept, and no URL is collected twice at a time."""
