"""The resources of the API: their handlers, one module for each resource.

A handler declares its operations, calls a use case and turns the result into an answer.
"""
