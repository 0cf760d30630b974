"""Work that is owed, in this API worker: claims jobs, runs their attempts, settles them.

Written over the ports: no module here knows MongoDB or libcurl.
"""
