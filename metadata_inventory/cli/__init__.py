"""Commands that people type: they read arguments, call the service or a file, and print.

They print and return an exit status. The work itself is done elsewhere: `service` runs the service, `access` makes
keys, and a running service reads and requeues its jobs through its API.
"""
