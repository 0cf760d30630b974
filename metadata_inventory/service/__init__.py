"""The processes of a service, and what they are made of."""
