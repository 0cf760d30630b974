"""The embedded database: SecantusDB as a child process, its data directory and its watch.

Started by the supervisor when no `MONGO_URI` is given. SecantusDB is never imported.
"""
