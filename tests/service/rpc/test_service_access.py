"""TLS, client certificates and tokens between the real client and service."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from coldspot.v1 import service_pb2, service_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from engine.errors import InvalidRequestError, ServiceUnavailableError, UnauthenticatedError
from service.client.client import ColdspotClient
from service.credentials import Access, name_in_certificate, read_tokens
from service.server import ColdspotServer, running_server
from tests.support.processes.certificates import Authority, Pair, needs_openssl
from tests.support.stub_engine import StubPipeline, make_case, settings_for

NAME = "appliance.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def appliance(authority: Authority) -> Pair:
    return authority.issue("appliance", f"DNS:{NAME},IP:10.1.2.3", "serverAuth")


@pytest.fixture(scope="module")
def console(authority: Authority) -> Pair:
    return authority.issue("console", usage="clientAuth")


def token_file(folder: Path, *tokens: str, name: str = "tokens") -> Path:
    path = folder / name
    path.write_text("".join(f"{token}\n" for token in ("# ours", "", *tokens)), encoding="ascii")
    path.chmod(0o600)
    return path


@contextmanager
def serving(folder: Path, **changes: object) -> Iterator[ColdspotServer]:
    with running_server(settings_for(folder, **changes), StubPipeline()) as server:
        yield server


def ask(server: ColdspotServer, access: Access) -> str:
    with ColdspotClient(f"127.0.0.1:{server.port}", access) as client:
        assert client.is_serving()
        return str(client.info().version)


def whole_procedure(server: ColdspotServer, access: Access, folder: Path) -> None:
    sent = make_case(seed=3)
    with ColdspotClient(f"127.0.0.1:{server.port}", access) as client:
        case = client.open_case()
        planning = client.upload_ct(case, sent.planning, "planning")
        client.upload_mask(case, sent.tumor, "tumor", planning)
        client.prepare(case)
        verification = client.upload_ct(case, sent.verification, "verification")
        client.upload_mask(case, sent.zone, "zone", verification)
        final = client.assess(case)
        assert final.coverage.tcr == pytest.approx(sent.tcr)
        assert client.fetch_artifact(final, "sheet.png", folder).stat().st_size > 0
        client.delete_case(case)


@needs_openssl
def test_a_client_certificate_and_a_token_through_a_whole_procedure(
    tmp_path: Path, authority: Authority, appliance: Pair, console: Pair
) -> None:
    tokens = token_file(tmp_path, secrets.token_hex(32), secrets.token_hex(32))
    mine = token_file(tmp_path, read_tokens(tokens, "tokens")[1], name="mine")
    access = Access(authority.certificate, console.certificate, console.key, NAME, mine)
    with serving(
        tmp_path,
        tls_certificate=appliance.certificate,
        tls_key=appliance.key,
        tls_client_ca=authority.certificate,
        access_tokens_file=tokens,
    ) as server:
        whole_procedure(server, access, tmp_path / "out")


@needs_openssl
def test_who_cannot_be_trusted_is_told_why(tmp_path: Path, authority: Authority, appliance: Pair) -> None:
    stranger = Authority(tmp_path / "other")
    own = stranger.issue("stranger")
    ca = authority.certificate
    with serving(tmp_path, tls_certificate=appliance.certificate, tls_key=appliance.key) as server:
        assert ask(server, Access(ca, tls_server_name=NAME))
        assert ask(server, Access(ca, tls_server_name="10.1.2.3"))
        assert ask(server, Access(appliance.certificate, tls_server_name=NAME)), "the certificate itself"
        for access, told in (
            (Access(), "--tls-ca"),
            (Access(ca), "--tls-server-name"),
            (Access(ca, tls_server_name="other.example"), "--tls-server-name"),
            (Access(stranger.certificate, tls_server_name=NAME), "--tls-ca"),
        ):
            with pytest.raises(ServiceUnavailableError, match=told):
                ask(server, access)
    with serving(
        tmp_path / "mutual", tls_certificate=appliance.certificate, tls_key=appliance.key, tls_client_ca=ca
    ) as server:
        for access in (
            Access(ca, tls_server_name=NAME),
            Access(ca, own.certificate, own.key, NAME),
            Access(ca, appliance.certificate, appliance.key, NAME),  # issued for servers alone
        ):
            with pytest.raises(ServiceUnavailableError, match="--tls-certificate"):
                ask(server, access)
    with (
        serving(tmp_path / "plain") as server,
        pytest.raises(ServiceUnavailableError, match="leave --tls-ca out"),
    ):
        ask(server, Access(ca))


def test_without_a_token_nothing_but_health_answers(tmp_path: Path) -> None:
    good, other = secrets.token_hex(32), secrets.token_hex(32)
    with serving(tmp_path, access_tokens_file=token_file(tmp_path, good)) as server:
        address = f"127.0.0.1:{server.port}"
        assert ask(server, Access(token_file=token_file(tmp_path, good, name="good")))
        for access in (Access(), Access(token_file=token_file(tmp_path, other, name="other"))):
            with ColdspotClient(address, access) as client:
                assert client.is_serving()
                with pytest.raises(UnauthenticatedError, match="--token-file"):
                    client.open_case()
                with pytest.raises(UnauthenticatedError):
                    client.upload_ct("case", make_case(seed=1).planning, "planning")
                with pytest.raises(UnauthenticatedError):
                    client.prepare("case")
                with pytest.raises(UnauthenticatedError):
                    client.assess("case")
        shown: tuple[list[tuple[str, str]], ...] = (
            [],
            [("authorization", good)],
            [("authorization", f"Basic {good}")],
            [("authorization", f"Bearer {good[:-1]}")],
            [("authorization", f"Bearer {good} ")],
            [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")],
            [("authorization", "Bearer ")],
            [("x-token", good)],
        )
        with grpc.insecure_channel(address) as channel:
            make_stub: Any = service_pb2_grpc.ColdspotServiceStub
            stub = make_stub(channel)
            listing = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            for metadata in shown:
                with pytest.raises(grpc.RpcError) as refused:
                    stub.GetServerInfo(service_pb2.GetServerInfoRequest(), metadata=metadata)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError):
                list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(listing))
            counted = {"method": "GetServerInfo", "status": "UNAUTHENTICATED"}
            told = server.app.metrics.registry.get_sample_value("coldspot_calls_total", counted)
            assert told == len(shown)
            answer = stub.GetServerInfo(
                service_pb2.GetServerInfoRequest(), metadata=[("authorization", f"bearer {good}")]
            )
            assert answer.version


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("a" * 32, 0o640, "chmod 600"),
        ("a" * 32, 0o604, "chmod 600"),
        ("", 0o600, "no token"),
        ("# only a remark\n", 0o600, "no token"),
        ("a" * 31, 0o600, "line 1"),
        ("a" * 32 + "\n" + "b" * 20 + " " + "b" * 20, 0o600, "line 2"),
        ("ä" * 32, 0o600, "line 1"),
    ],
)
def test_token_files_that_cannot_be_used(tmp_path: Path, content: str, mode: int, told: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(InvalidRequestError, match=told):
        read_tokens(path, "access_tokens_file")
    with (
        pytest.raises(InvalidRequestError, match="access_tokens_file"),
        serving(tmp_path, access_tokens_file=path),
    ):
        pass
    with serving(tmp_path):  # the failed start has left nothing locked
        pass


@needs_openssl
def test_certificates_and_keys_that_cannot_be_used(
    tmp_path: Path, authority: Authority, appliance: Pair, console: Pair
) -> None:
    absent, text = tmp_path / "absent.pem", tmp_path / "text.pem"
    text.write_text("no certificate\n", encoding="ascii")
    good = {"tls_certificate": appliance.certificate, "tls_key": appliance.key}
    for wrong, told in (
        ({"tls_certificate": absent}, "tls_certificate: .*No such file"),
        ({"tls_certificate": text}, "tls_certificate: .*no certificate"),
        ({"tls_key": console.key}, "tls_key: .*not the key"),
        ({"tls_client_ca": text}, "tls_client_ca"),
    ):
        with pytest.raises(InvalidRequestError, match=told), serving(tmp_path, **{**good, **wrong}):
            pass
    for access, told in (
        (Access(text), "--tls-ca"),
        (Access(authority.certificate, console.certificate, appliance.key), "--tls-key"),
        (Access(authority.certificate, console.certificate), "both"),
        (Access(tls_certificate=console.certificate, tls_key=console.key), "--tls-ca"),
        (Access(tls_server_name=NAME), "--tls-ca"),
    ):
        with pytest.raises(InvalidRequestError, match=told), ColdspotClient("127.0.0.1:1", access):
            pass


@pytest.mark.parametrize("target", ["appliance.example:50051", "10.0.0.7:50051", "[2001:db8::1]:50051"])
def test_a_token_crosses_no_network_in_the_clear(tmp_path: Path, target: str) -> None:
    access = Access(token_file=token_file(tmp_path, "a" * 32))
    with pytest.raises(InvalidRequestError, match="in the clear"), ColdspotClient(target, access):
        pass
    for here in ("127.0.0.1:1", "localhost:1", "[::1]:1"):
        ColdspotClient(here, access).close()


@needs_openssl
@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("DNS:appliance.example", "appliance.example"),
        ("IP:10.1.2.3", "10.1.2.3"),
        ("DNS:*.hospital.example,DNS:other", "coldspot.hospital.example"),
        ("", "no-names"),
    ],
)
def test_the_name_in_a_certificate(authority: Authority, names: str, found: str) -> None:
    issued = authority.issue("no-names", names)
    assert name_in_certificate(issued.certificate, issued.key) == found
