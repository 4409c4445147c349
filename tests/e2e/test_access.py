"""Who is who: tokens and certificates against a real server, and what one principal sees of another."""

import re
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import pixwire


def make_token(principal: str, tokens: Path) -> str:
    """A token from the server's own command, its entry added to the file."""
    command = [sys.executable, "-m", "pixwire_server", "token", principal]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    entry = shown.stdout[shown.stdout.index("[[token]]") :]
    with tokens.open("a") as file:
        file.write(entry + "\n")
    found = re.search(r"\bpxw_\S+", shown.stdout + shown.stderr)
    assert found
    assert found[0] not in entry
    return found[0]


@pytest.fixture(scope="module")
def guarded(
    new_module_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, dict[str, str]]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    secrets = {name: make_token(name, tokens) for name in ("alice", "bob")}
    return new_module_server("--max-resident", "0", "--tokens", str(tokens), fast=True).start(), secrets


async def test_a_principal_sees_its_own_jobs_only(guarded: tuple[Any, dict[str, str]]) -> None:
    server, secrets = guarded
    async with (
        pixwire.connect(server.url, token=secrets["alice"]) as alice,
        pixwire.connect(server.url, token=secrets["bob"]) as bob,
    ):
        hers = await alice.submit("a red circle", job_id="shared-name")
        his = await bob.submit("a blue square", job_id="shared-name")
        private = await alice.submit("a green star")
        assert (await hers.status()).params != (await his.status()).params
        with pytest.raises(pixwire.JobNotFound):
            await bob.job(private.id).status()
        with pytest.raises(pixwire.JobNotFound):
            await bob.job(private.id).cancel()
        assert {job.job async for job in alice.jobs()} == {hers.id, private.id}
        assert {job.job async for job in bob.jobs()} == {his.id}
    assert secrets["alice"] not in server.log()


async def test_no_token_and_a_wrong_one_are_told_apart(guarded: tuple[Any, dict[str, str]]) -> None:
    server, secrets = guarded
    with pytest.raises(pixwire.AuthRequired):
        await pixwire.connect(server.url)
    with pytest.raises(pixwire.AuthFailed) as caught:
        await pixwire.connect(server.url, token=secrets["alice"][:-1] + "x")
    assert secrets["alice"][:-1] not in str(caught.value)


async def test_over_tls_the_certificate_is_who_one_is(new_server: Callable[..., Any], tmp_path: Path) -> None:
    authority = trustme.CA()
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key")}
    authority.cert_pem.write_to_path(paths["ca"])
    for name, identity in (("server", "localhost"), ("client", "alice.example.org")):
        issued = authority.issue_cert(identity)
        issued.private_key_pem.write_to_path(paths[f"{name}-key"])
        for certificate in issued.cert_chain_pems:
            certificate.write_to_path(paths[name], append=True)
    server = new_server(
        *("--max-resident", "0", "--listen", "pixwires://localhost:0"),
        *(
            "--tls-cert",
            str(paths["server"]),
            "--tls-key",
            str(paths["server-key"]),
            "--tls-client-ca",
            str(paths["ca"]),
        ),
        fast=True,
    ).start()
    url = server.url
    assert url.startswith("pixwires://localhost:")
    mine: dict[str, Any] = {
        "cafile": str(paths["ca"]),
        "certfile": str(paths["client"]),
        "keyfile": str(paths["client-key"]),
    }
    async with pixwire.connect(url, **mine) as client:
        job = await client.submit("a red circle")
        assert (await job.status()).state == "queued"
    with pytest.raises(pixwire.ConnectError, match="certificate"):
        await pixwire.connect(url, cafile=str(paths["ca"]))
    with pytest.raises(pixwire.ConnectError, match="certificate"):
        await pixwire.connect(url, ssl=ssl.create_default_context())
