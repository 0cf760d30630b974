"""Small changes of the source that some test has to notice: `tox run -e mutation`."""
