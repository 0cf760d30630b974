"""The parent's side, in the API worker: lanes, their processes, isolation, host limits.

Hands orders to lane processes, takes outcomes back, and replaces a process that was lost. Written with asyncio; what
`engine` does is called in the child only, through a process pool.
"""
