"""What the services agree on: grammar, keys, frames, settings, and how they talk to Redis.

Nothing here decides anything; the services import this package and never each other.
"""
