"""`python -m autoenc_sg`: the command line."""

import sys

from autoenc_sg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
