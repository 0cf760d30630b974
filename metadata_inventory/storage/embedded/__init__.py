"""The embedded database: SecantusDB as a child process."""
