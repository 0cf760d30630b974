"""The API's handlers: one module for each resource."""
