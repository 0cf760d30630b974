"""Work that is owed: claimed, run and settled by this process."""
