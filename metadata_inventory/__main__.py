"""`python -m metadata_inventory`: the command line."""

from __future__ import annotations

import sys

from metadata_inventory.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
