"""The child's side, in a lane process: libcurl, collections and hops, and their bounds.

Runs in one thread, beside which only name look-ups have threads of their own. Knows no asyncio, database, settings or
secrets. Only this folder imports pycurl.
"""
