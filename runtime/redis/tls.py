"""TLS to a Redis server: the options of a `rediss://` URL as an SSL context, for both clients."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runtime.errors import RedisUnavailableError


@dataclass(frozen=True, slots=True)
class Tls:
    """Files are PEM. Without `ca_certs` the authorities of this machine are trusted, with it those in the file only."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    key_password: str | None = field(default=None, repr=False)
    verify: bool = True
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """A context for one connection, so that renewed files count from the next connection on.

        RedisUnavailableError names the option whose file can't be used; it may be there next time.
        """
        with _named("ssl_ca_certs", self.ca_certs):
            context = ssl.create_default_context(cafile=self.ca_certs)
        if self.certfile is not None:
            with _named("ssl_certfile", self.certfile, f" with ssl_keyfile {self.keyfile}" if self.keyfile else ""):
                # Without a password of ours OpenSSL would ask for one on the terminal, and wait.
                context.load_cert_chain(self.certfile, self.keyfile, lambda: self.key_password or "")
        context.check_hostname = self.verify and self.check_hostname
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        return context


@contextmanager
def _named(option: str, file: str | None, beside: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise RedisUnavailableError(f"{option} {file}{beside} can't be used: {problem.strerror or problem}") from None
