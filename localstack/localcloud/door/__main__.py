"""`python -m localcloud.door PLAN`: the front door's process, started by `localcloud up`."""

import sys
from pathlib import Path

from localcloud.door.plan import Plan
from localcloud.door.server import main

main(Plan.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
