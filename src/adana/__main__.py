"""``python -m adana``: the command line."""

import sys

from adana.cli import main

if __name__ == "__main__":
    sys.exit(main())
