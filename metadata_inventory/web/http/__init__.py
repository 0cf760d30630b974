"""What all handlers share: limits, access, parameters, JSON, errors, the OpenAPI document.

Every request goes through here, whatever it is for. Knows no resource.
"""
