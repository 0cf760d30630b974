"""Values and rules of the inventory. Pure: nothing here waits, or talks to anybody."""
