"""The client library for Python, `sdk/python`, and the conformance kit, `sdk/conformance`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "sdk" / "python"))
