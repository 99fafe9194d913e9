"""`python -m localcloud`."""

import sys

try:
    # Loading the AWS library takes a moment in which Ctrl-C may come.
    from localcloud.cli import main

    code = main()
except KeyboardInterrupt:
    print("interrupted.", file=sys.stderr)
    code = 130
sys.exit(code)
