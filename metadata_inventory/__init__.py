"""HTTP Metadata Inventory: stores the response to a URL, with headers, cookies and page source, and serves it again."""

__version__ = "0.1.0"
