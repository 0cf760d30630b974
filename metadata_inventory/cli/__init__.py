"""Commands that people type: they read arguments, call the service or a file, and print.

They print and return an exit status. What a command does is done elsewhere: `service` runs the service, the API of a
running service answers for its queue.
"""
