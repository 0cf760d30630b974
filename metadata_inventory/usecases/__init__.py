"""What the service can be asked to do, over the ports: no HTTP and no MongoDB.

One method for each question or command. They raise the errors of `errors`, which `web` turns into status codes.
"""
