"""Stores records and jobs in MongoDB, and runs the embedded database."""
