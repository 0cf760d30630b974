"""Collecting: carries out orders, from a URL to its outcome. Implements the collector port.

`pool` runs in the API worker, `engine` in the lane processes, `parse` in both.
"""
