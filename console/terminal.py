"""Text for people. Square brackets are not markup and colons are not emoji in it, since peers have written much of what
is shown; styles are given beside the text.
"""

from rich.console import Console


def terminal(*, to_stderr: bool = False, soft_wrap: bool = True) -> Console:
    """Standard output, or standard error. With `soft_wrap` long lines are not broken."""
    return Console(stderr=to_stderr, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)
