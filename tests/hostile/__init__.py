"""URLs, redirects, names and pages that want the service to connect where it must not; traps listen there."""
