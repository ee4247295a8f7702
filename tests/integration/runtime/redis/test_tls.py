"""TLS to a server that asks for client certificates: the services' link and the commands' client take a URL alike."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.errors import RedisUnavailableError
from runtime.redis.blocking import connected
from runtime.redis.link import connect
from runtime.settings import load
from tests.support.programs import SYSTEM
from tests.support.servers import free_port, sentinel_server, system_server

KEY_PASSWORD = "ke&y pass"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Certificates:
    """A folder of an authority's certificate, and of keys and certificates that it signed."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def make_authority(self, name: str) -> None:
        command = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"]
        command += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]  # Python 3.13 insists on it
        _openssl(*command, "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.pem"))

    def sign(self, name: str, authority: str, subject: str = "", key_password: str | None = None) -> None:
        """A key and a certificate; `subject` is the name that a server goes by."""
        key = ["-aes256", "-pass", f"pass:{key_password}"] if key_password else []
        algorithm = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        _openssl("genpkey", *algorithm, *key, "-out", self.path(f"{name}.key"))
        opened = ["-passin", f"pass:{key_password}"] if key_password else []
        request = ["req", "-new", "-key", self.path(f"{name}.key"), *opened, "-subj", f"/CN={name}"]
        _openssl(*request, "-out", self.path(f"{name}.csr"))
        extra = self.folder / f"{name}.ext"
        names = f"subjectAltName={subject}\n" if subject else ""
        extra.write_text(f"authorityKeyIdentifier=keyid\n{names}")  # Python 3.13 insists on it
        issuer = ["-CA", self.path(f"{authority}.pem"), "-CAkey", self.path(f"{authority}.key"), "-CAcreateserial"]
        made = ["-in", self.path(f"{name}.csr"), "-out", self.path(f"{name}.pem"), "-days", "1"]
        _openssl("x509", "-req", *made, *issuer, "-extfile", str(extra))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make_authority("ca")
    made.make_authority("stranger")
    made.sign("server", "ca", "IP:127.0.0.1")
    made.sign("elsewhere", "ca", "DNS:redis.example")
    made.sign("client", "ca")
    made.sign("locked", "ca", key_password=KEY_PASSWORD)
    made.sign("foreign", "stranger")
    return made


@contextmanager
def tls_server(made: Certificates, certificate: str = "server", *options: str) -> Iterator[int]:
    """A redis-server that takes only clients with a certificate of the authority; yields its TLS port."""
    port = free_port()
    files = {"cert": f"{certificate}.pem", "key": f"{certificate}.key", "ca-cert": "ca.pem"}
    words = [word for name, file in files.items() for word in (f"--tls-{name}-file", made.path(file))]
    words += ["--tls-port", str(port), "--tls-auth-clients", "yes", "--dir", str(made.folder)]
    with system_server(free_port(), *words, *options):
        yield port


@pytest.fixture(scope="module")
def port(redis_url: str, made: Certificates) -> Iterator[int]:
    assert redis_url  # redis-server is there
    with tls_server(made) as port:
        yield port


async def by_link(url: str) -> None:
    """As a service."""
    link = await connect(url, 5.0, "test-tls")
    try:
        assert await link.call("PING") == b"PONG"
    finally:
        link.close()
        await link.closed


async def by_command(url: str) -> None:
    """As a command of the console."""
    with connected(load(redis_url=url)) as client:
        assert client.ping()


both = pytest.mark.parametrize("ways", [by_link, by_command])


def url_of(port: int, made: Certificates, *options: str, host: str = "127.0.0.1") -> str:
    """Options are given as `name=value`, a file as its name in the folder."""
    pairs = (option.partition("=") for option in options)
    values = (f"{name}={made.path(value) if value.endswith(('.pem', '.key')) else value}" for name, _, value in pairs)
    return f"rediss://{host}:{port}/0?{'&'.join(values)}"


TRUST, CERTIFICATE, KEY = "ssl_ca_certs=ca.pem", "ssl_certfile=client.pem", "ssl_keyfile=client.key"
TURNED_AWAY = r"(?i)certificate.required|unknown.ca|closed|reset|EOF"
"""With TLS 1.3 the server ends the connection after the handshake; whether its reason arrives is a race."""
LOCKED = ("ssl_certfile=locked.pem", "ssl_keyfile=locked.key")


@both
@pytest.mark.parametrize(
    "options",
    [
        (TRUST, CERTIFICATE, KEY),
        (TRUST, *LOCKED, "ssl_password=ke%26y%20pass"),
        (CERTIFICATE, KEY, "ssl_cert_reqs=none"),
        (TRUST, CERTIFICATE, KEY, "ssl_cert_reqs=required", "ssl_check_hostname=true"),
    ],
)
async def test_a_client_with_a_certificate_is_served(ways, options, port: int, made: Certificates) -> None:  # type: ignore[no-untyped-def]
    await ways(url_of(port, made, *options))


@both
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((TRUST,), TURNED_AWAY),
        ((TRUST, "ssl_certfile=foreign.pem", "ssl_keyfile=foreign.key"), TURNED_AWAY),
        ((CERTIFICATE, KEY), r"(?i)certificate.verify.failed"),
        (("ssl_ca_certs=stranger.pem", CERTIFICATE, KEY), r"(?i)certificate.verify.failed"),
        (("ssl_ca_certs=none.pem", CERTIFICATE, KEY), r"ssl_ca_certs .*none\.pem can't be used: No such file"),
        ((TRUST, "ssl_certfile=none.pem"), r"ssl_certfile .*none\.pem can't be used: No such file"),
        (
            (TRUST, CERTIFICATE, "ssl_keyfile=foreign.key"),
            r"ssl_certfile .*client\.pem with ssl_keyfile .*foreign\.key",
        ),
        ((TRUST, *LOCKED), r"ssl_certfile .*locked\.pem with ssl_keyfile .*locked\.key can't be used"),
        ((TRUST, *LOCKED, "ssl_password=wrong-one"), r"ssl_certfile .*locked\.pem with ssl_keyfile .* can't be used"),
    ],
)
async def test_why_one_is_not(ways, options, why, port: int, made: Certificates) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RedisUnavailableError, match=why) as refused:
        await ways(url_of(port, made, *options))
    assert "wrong-one" not in str(refused.value)


@both
async def test_a_server_that_goes_by_another_name(ways, redis_url: str, made: Certificates) -> None:  # type: ignore[no-untyped-def]
    assert redis_url  # redis-server is there
    with tls_server(made, "elsewhere") as port:
        with pytest.raises(RedisUnavailableError, match=r"(?i)certificate.verify.failed"):
            await ways(url_of(port, made, TRUST, CERTIFICATE, KEY))
        await ways(url_of(port, made, TRUST, CERTIFICATE, KEY, "ssl_check_hostname=false"))


@both
async def test_sentinels_and_their_primary(ways, redis_url: str, made: Certificates, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert redis_url  # redis-server is there
    sentinel = free_port()
    lines = [f"tls-{name}-file {made.path(file)}" for name, file in
             {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}.items()]  # fmt: skip
    lines += [f"tls-port {sentinel}", "tls-auth-clients yes", "tls-replication yes", "requirepass sent/inel"]
    login = ["--requirepass", "data"]
    with (
        tls_server(made, "server", *login) as port,
        sentinel_server(SYSTEM, 0, tmp_path, "main", port, "data", lines, wait_on=sentinel),
    ):
        url = (
            url_of(sentinel, made, TRUST, CERTIFICATE, KEY)
            .replace("/0?", "/main/0?")
            .replace("://", "+sentinel://:data@")
        )
        await ways(f"{url}&sentinel_password=sent%2Finel")
        with pytest.raises(
            RedisUnavailableError,
            match=f"no Sentinel names the primary of main: .*:{sentinel}: .*invalid username-password pair",
        ):
            await ways(f"{url}&sentinel_password=wrong-one")
