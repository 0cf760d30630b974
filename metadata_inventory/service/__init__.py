"""The processes of a running service, their settings and logs, and how objects are joined.

`bootstrap` is the only module that knows both ports and adapters.
"""
