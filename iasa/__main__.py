"""`python -m iasa`."""

import sys

from iasa.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
