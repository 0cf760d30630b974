"""Pure: the values and rules of the inventory, and the shapes that the API shows.

Nothing here waits, reads a clock or does I/O. A rule (is this record stale? is this address allowed?) takes as
arguments everything on which its decision depends.
"""
