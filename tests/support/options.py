"""The collector's options as the default settings make them, with what a test changes.

The imports stand inside the functions: a lane process that unpickles a function of a test module imports that module,
and must not get the settings, Tornado and the driver with it.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from metadata_inventory.collect.options import CollectorOptions, HeaderLimits, LaneSettings
from metadata_inventory.model.destinations import DestinationPolicy


def collector_options(**changes: Any) -> CollectorOptions:
    """Without `destinations` among the changes only public addresses may be connected to."""
    from metadata_inventory.service import bootstrap
    from metadata_inventory.service.settings import Settings

    return replace(bootstrap.collector_options(Settings(), DestinationPolicy()), **changes)


def header_limits(**changes: int) -> HeaderLimits:
    return replace(collector_options().headers, **changes)


def lane_settings(**changes: Any) -> LaneSettings:
    from metadata_inventory.service import bootstrap
    from metadata_inventory.service.settings import Settings

    return replace(bootstrap.lane_settings(Settings()), **changes)
