"""`python -m asgi_agentrt` is `agentrt`."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
