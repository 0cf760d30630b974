"""The parent's side of collecting: lanes, isolation and the lane processes of both."""
