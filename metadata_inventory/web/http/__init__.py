"""The parts of request handling that are the same for every resource. Nothing here knows a resource."""
