"""What people see: text goes to the terminal as it is. Square brackets are no markup and colons no emoji in it, since
much of what is shown is other people's; styles are given beside the text.
"""

from rich.console import Console


def terminal(*, to_stderr: bool = False, soft_wrap: bool = True) -> Console:
    """Standard output, or standard error. With `soft_wrap` long lines are not broken."""
    return Console(stderr=to_stderr, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)
