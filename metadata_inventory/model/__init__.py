"""Pure: the values and rules of the inventory, and the shapes that the API shows.

Nothing here waits, reads a clock or talks to anybody. A rule (is this record stale? is this address allowed?) takes
everything that it decides by as an argument.
"""
