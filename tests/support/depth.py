"""How deep random tests dig: REDIVER_TEST_DEPTH times the examples of the fast suite."""

import os
from typing import Final

DEPTH: Final = int(os.environ.get("REDIVER_TEST_DEPTH", "1"))
