"""Certificates, tokens and the settings of this machine on the command line."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import service.commands.cli
from engine.files.image_file import write_mask, write_volume
from service.client.client import ColdspotClient
from service.logging import silence_logging
from service.server import ColdspotServer, running_server
from tests.support.processes.certificates import Authority, Pair, needs_openssl
from tests.support.stub_engine import StubPipeline, make_case, settings_for

pytestmark = needs_openssl

NAME = "appliance.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def appliance(authority: Authority) -> Pair:
    return authority.issue("appliance", f"DNS:{NAME}", "serverAuth")


@pytest.fixture(scope="module")
def console(authority: Authority) -> Pair:
    return authority.issue("console", usage="clientAuth")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    path.chmod(0o600)
    return path


@contextmanager
def serving(folder: Path, environment: pytest.MonkeyPatch, **settings: object) -> Iterator[ColdspotServer]:
    """A service, and the environment that describes it, as in the image."""
    silence_logging()
    with running_server(settings_for(folder, **settings), StubPipeline()) as server:
        for name, value in {**settings, "port": server.port}.items():
            environment.setenv(f"COLDSPOT_{name.upper()}", str(value))
        yield server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(service.commands.cli.app, list(arguments))


def images(folder: Path) -> list[str]:
    sent = make_case(seed=1)
    write_volume(folder / "planning.nii.gz", sent.planning.voxels_hu, sent.planning.geometry)
    write_volume(folder / "verification.nii.gz", sent.verification.voxels_hu, sent.verification.geometry)
    write_mask(folder / "tumor.nii.gz", sent.tumor)
    write_mask(folder / "zone.nii.gz", sent.zone)
    names = ("planning", "verification", "tumor", "zone")
    return [part for name in names for part in (f"--{name}", str(folder / f"{name}.nii.gz"))]


def tls(pair: Pair, **further: object) -> dict[str, object]:
    return {"tls_certificate": pair.certificate, "tls_key": pair.key, **further}


def test_the_health_check_follows_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appliance: Pair, token: Path
) -> None:
    described: tuple[dict[str, object], ...] = (
        {},
        {"access_tokens_file": token},
        tls(appliance),
        tls(appliance, access_tokens_file=token),
    )
    for number, settings in enumerate(described):
        with monkeypatch.context() as environment, serving(tmp_path / str(number), environment, **settings):
            result = run("healthcheck")
            assert (result.exit_code, result.stdout) == (0, "serving\n"), result.output
    monkeypatch.setenv("COLDSPOT_PORT", "1")
    assert run("healthcheck").exit_code == 6
    monkeypatch.setenv("COLDSPOT_PORT", "0")
    assert "--server" in run("healthcheck").stderr


def test_the_health_check_of_an_address_that_means_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appliance: Pair
) -> None:
    for number, host in enumerate(("0.0.0.0", "::")):  # noqa: S104 - as in a container
        settings = tls(appliance, host=host)
        with monkeypatch.context() as environment, serving(tmp_path / str(number), environment, **settings):
            assert run("healthcheck").exit_code == 0


def test_the_health_check_where_clients_need_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority, appliance: Pair, console: Pair
) -> None:
    both = authority.issue("both", f"DNS:{NAME}", "serverAuth,clientAuth")
    ca = authority.certificate
    with (
        monkeypatch.context() as environment,
        serving(tmp_path / "a", environment, **tls(both, tls_client_ca=ca)),
    ):
        assert run("healthcheck").exit_code == 0, "the service's own certificate will do"
    with serving(tmp_path / "b", monkeypatch, **tls(appliance, tls_client_ca=ca)):
        refused = run("healthcheck")
        assert refused.exit_code == 6
        assert "client certificate" in refused.stderr
        monkeypatch.setenv("COLDSPOT_CLIENT_TLS_CERTIFICATE", str(console.certificate))
        monkeypatch.setenv("COLDSPOT_CLIENT_TLS_KEY", str(console.key))
        assert run("healthcheck").exit_code == 0


@pytest.mark.parametrize("by_environment", [False, True])
def test_every_client_command_with_certificate_and_token(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    authority: Authority,
    appliance: Pair,
    console: Pair,
    token: Path,
    *,
    by_environment: bool,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    given = {
        "tls-ca": authority.certificate,
        "tls-certificate": console.certificate,
        "tls-key": console.key,
        "tls-server-name": NAME,
        "token-file": token,
    }
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    settings = tls(appliance, tls_client_ca=authority.certificate, access_tokens_file=token)
    with running_server(settings_for(tmp_path, **settings), StubPipeline()) as server:
        if by_environment:
            for name, value in given.items():
                monkeypatch.setenv(f"COLDSPOT_CLIENT_{name.upper().replace('-', '_')}", str(value))
            options = []
        options += ["--server", f"127.0.0.1:{server.port}"]
        for command in (
            ["assess", *images(tmp_path), "--json", "--out", str(tmp_path / "out")],
            ["info", "--json"],
            ["healthcheck"],
        ):
            result = run(*command, *options)
            assert result.exit_code == 0, result.output
        without = run("info", "--json", "--server", f"127.0.0.1:{server.port}", "--token-file", "")
        assert without.exit_code != 0


@pytest.mark.parametrize("keep", [False, True])
def test_assess_deletes_its_case_unless_it_is_to_be_kept(tmp_path: Path, *, keep: bool) -> None:
    silence_logging()
    with running_server(settings_for(tmp_path), StubPipeline()) as server:
        address = f"127.0.0.1:{server.port}"
        options = ["--server", address, "--json", "--out", str(tmp_path / "out"), *["--keep"] * keep]
        result = run("assess", *images(tmp_path), *options)
        assert result.exit_code == 0, result.output
        assert (tmp_path / "out" / "sheet.png").exists()
        case_id = json.loads(result.stdout)["provenance"]["case_id"]
        kept = {path.name for path in (tmp_path / "state" / "blobs").iterdir()}
        assert bool(kept) == keep
        failed = run("assess", *images(tmp_path), "--planning", str(tmp_path / "tumor.nii.gz"), *options)
        assert failed.exit_code == 2
        assert {path.name for path in (tmp_path / "state" / "blobs").iterdir()} == kept
        if keep:
            with ColdspotClient(address) as client:
                assert client.case(case_id).assessment_ids


def test_a_misspelled_variable_stops_every_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLDSPOT_CLINICAL_MOD", "true")
    for command in (
        ["info", "--json"],
        ["info", "--json", "--server", "127.0.0.1:1"],
        ["healthcheck"],
        ["selftest", "--json"],
        ["assess", *images(tmp_path), "--json"],
        ["assess", *images(tmp_path), "--json", "--server", "127.0.0.1:1"],
        ["serve"],
    ):
        result = run(*command)
        assert result.exit_code == 2, command
        assert "COLDSPOT_CLINICAL_MODE" in result.output + result.stderr
