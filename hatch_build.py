"""The description of the package: the README without its pictures, whose files are only in the repository."""

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Description(MetadataHookInterface):
    """Called by the build backend for the field `readme`, which pyproject.toml leaves to it."""

    def update(self, metadata: dict[str, Any]) -> None:
        with open(os.path.join(self.root, "README.md"), encoding="utf-8") as readme:
            text = "".join(line for line in readme if not line.startswith("!["))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
