"""How Redis is reached: TLS, credentials, and what is said when it does not work."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import ABSENT, SessionKey, open_store
from asgi_agentrt._session._redis_store import RedisStore
from asgi_agentrt.exceptions import SessionError, StartupError
from tests.support.redis_server import SERVER, RedisServer, free_port, needs_redis, redis_server

pytestmark = needs_redis
KEY = SessionKey("ann", "s1")


@pytest.fixture(params=[("asyncio", {"debug": True})], ids=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """redis-py knows asyncio only."""
    return request.param


def config(url: str) -> SessionConfig:
    return SessionConfig(backend="redis", url=url)


class Secure(NamedTuple):
    address: str
    authority: Path
    other_authority: Path


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Generator[Secure]:
    """A Redis that speaks TLS only, and wants to know who is there."""
    if SERVER is None or shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "other"):
        subject = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", *usage]
        openssl(folder, "req", "-x509", *made, *subject)
    subject = ["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"]
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", *subject)
    # Python 3.13 insists on what RFC 5280 asks for.
    extensions = ["subjectAltName=DNS:localhost,IP:127.0.0.1", "subjectKeyIdentifier=hash"]
    extensions.append("authorityKeyIdentifier=keyid,issuer")
    (folder / "names").write_text("\n".join(extensions))
    signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    files = ["-in", "server.csr", "-out", "server.crt", "-extfile", "names"]
    openssl(folder, "x509", "-req", *signing, *files)
    port = str(free_port())
    keys = ["--tls-cert-file", f"{folder}/server.crt", "--tls-key-file", f"{folder}/server.key"]
    tls = ["--tls-port", port, "--tls-ca-cert-file", f"{folder}/ca.crt", "--tls-auth-clients", "no"]
    users = ["--requirepass", "of the default user", "--user", "ann", "on", ">hunter2"]
    rights = ["~asgi_agentrt:*", "+@all"]
    with ExitStack() as stack:
        try:
            options = [*tls, *keys, *users, *rights, "--bind", "127.0.0.1"]
            stack.enter_context(redis_server(options))
        except AssertionError as error:
            if "tls-port" in str(error):
                pytest.skip("this redis-server is built without TLS")
            raise
        yield Secure(f"127.0.0.1:{port}/0", folder / "ca.crt", folder / "other.crt")


async def test_tls_and_credentials_are_in_the_url(secure: Secure) -> None:
    url = f"rediss://ann:hunter2@{secure.address}?ssl_ca_certs={secure.authority}"
    async with open_store(config(url), Path()) as store:
        assert isinstance(store, RedisStore)
        await store.enter(KEY, "run", lease_s=10)
        version = await store.save_in_turn(KEY, {"n": {}}, ABSENT, "run")
        assert await store.load(KEY) == ({"n": {}}, version)
        await store.leave(KEY, "run")
        await store.delete(KEY)


@pytest.mark.parametrize(
    ("start", "authority", "reason"),
    [
        ("rediss://ann:wrong-hunter2@", "authority", "AuthenticationError"),
        ("rediss://nobody:hunter2@", "authority", "AuthenticationError"),
        ("rediss://", "authority", "AuthenticationError"),
        ("rediss://ann:hunter2@", "other_authority", "ConnectionError"),
        ("redis://ann:hunter2@", "", "ConnectionError"),
    ],
)
async def test_what_does_not_fit_fails_the_start_and_is_not_shown(
    secure: Secure, start: str, authority: str, reason: str
) -> None:
    query = f"?ssl_ca_certs={getattr(secure, authority)}" if authority else ""
    with anyio.fail_after(20), pytest.raises(StartupError) as got:
        async with open_store(config(f"{start}{secure.address}{query}"), Path()):
            pass
    assert str(got.value) == f"session: cannot reach Redis: {reason}"
    cause: BaseException | None = got.value
    while cause is not None:
        assert "hunter2" not in str(cause)
        cause = cause.__cause__
    await anyio.sleep(0.2)  # redis-py does not wait for TLS to say goodbye, but its loop has to


async def test_more_calls_than_connections_wait_for_one(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgi_agentrt._session._redis_store._CONNECTIONS", 3)
    async with open_store(config(redis.url), Path()) as store, anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(store.save, SessionKey("many", f"s{number}"), {}, ABSENT)
        assert isinstance(store, RedisStore)
        clients = await store._client.client_list()
        assert len(clients) <= 3


async def test_options_in_the_url_go_before_ours(redis: RedisServer) -> None:
    async with open_store(config(f"{redis.url}?socket_timeout=0.2"), Path()) as store:
        assert isinstance(store, RedisStore)
        await store._client.client_pause(1000)
        with anyio.fail_after(3), pytest.raises(SessionError):
            await store.load(KEY)
        with anyio.fail_after(10):
            while True:
                try:
                    await store.load(KEY)
                    break
                except SessionError:
                    pass
