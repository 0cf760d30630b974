"""HTTP with Tornado: the route table, and the only code that knows status codes.

`api` has the resources, `http` what every request goes through.
"""
