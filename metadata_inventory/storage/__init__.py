"""MongoDB: documents, claims, bodies, batches and the connection. Implements the store ports.

Only this folder imports pymongo, and only it knows the names of stored fields.
"""
