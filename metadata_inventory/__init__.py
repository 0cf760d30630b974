"""HTTP Metadata Inventory: give it a URL, it keeps what the URL's server answered."""

__version__ = "0.1.0"
