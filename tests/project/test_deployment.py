"""Compose file, Grafana's provisioning and the systemd unit: no engine is needed to see what they promise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from deploy.rehearse import environment_of, instructions, rehearse

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (make setup-export)")

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DIGEST = re.compile(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
SERVICES = ("coldspot", "prometheus", "grafana")


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read("compose.yaml")


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_closed(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in {"0", "root"}
    assert not {"privileged", "network_mode", "pid", "devices", "cap_add"} & set(service)
    for port in service["ports"]:
        assert port.startswith("127.0.0.1:")
    for volume in service["volumes"]:
        own = volume.split(":")[0] in compose["volumes"]
        assert own or volume.endswith(":ro"), volume


def test_every_image_is_built_here_or_pinned_by_digest(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == set(SERVICES)
    assert "image" not in compose["services"]["coldspot"]
    assert (ROOT / compose["services"]["coldspot"]["build"]["dockerfile"]).exists()
    for name in SERVICES[1:]:
        assert DIGEST.fullmatch(compose["services"][name]["image"])


def test_the_user_and_the_places_are_those_of_the_image(compose: dict[str, Any]) -> None:
    service = compose["services"]["coldspot"]
    image = instructions((ROOT / service["build"]["dockerfile"]).read_text(encoding="utf-8"))
    (user,) = [one.arguments for one in image if one.name == "USER"]
    assert service["user"] == user
    mounted = {volume.split(":")[-2 if volume.endswith(":ro") else -1] for volume in service["volumes"]}
    assert mounted == {"/var/lib/coldspot", environment_of(image)["COLDSPOT_MODELS_DIR"]}


def test_no_model_is_mounted_unless_the_operator_names_one(compose: dict[str, Any]) -> None:
    assert "${COLDSPOT_MODELS:-models}:/models:ro" in compose["services"]["coldspot"]["volumes"]
    assert compose["volumes"]["models"] is None


def test_grafana_is_provisioned(compose: dict[str, Any]) -> None:
    grafana = compose["services"]["grafana"]
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in grafana["volumes"])
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert compose["services"][host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (provider,) = read("grafana/provisioning/dashboards/coldspot.yaml")["providers"]
    assert provider["options"]["path"] + "/coldspot.json" == mounts["./grafana/coldspot.json"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    board = json.loads((DEPLOY / "grafana" / "coldspot.json").read_text(encoding="utf-8"))
    (variable,) = board["templating"]["list"]
    assert variable["query"] == source["type"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == mounts["./grafana/coldspot.json"]


def test_grafana_lets_nobody_in_and_asks_nobody_outside(compose: dict[str, Any]) -> None:
    told = compose["services"]["grafana"]["environment"]
    assert told["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    for name in ("AUTH_BASIC_ENABLED", "ANALYTICS_REPORTING_ENABLED", "NEWS_NEWS_FEED_ENABLED"):
        assert told[f"GF_{name}"] == "false"
    for name in ("AUTH_DISABLE_LOGIN_FORM", "SECURITY_DISABLE_INITIAL_ADMIN_CREATION"):
        assert told[f"GF_{name}"] == "true"
    assert not [name for name in told if "PASSWORD" in name or "SECRET" in name]


def test_prometheus_scrapes_the_appliance(compose: dict[str, Any]) -> None:
    (job,) = read("prometheus.yml")["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    image = instructions((ROOT / "Dockerfile.x86").read_text(encoding="utf-8"))
    (exposed,) = [one.arguments for one in image if one.name == "EXPOSE"]
    assert host in compose["services"]
    assert port in exposed.split()


def test_a_jetson_adds_its_image_its_gpu_and_its_tensorrt() -> None:
    (service,) = read("compose.jetson.yaml")["services"].values()
    assert service["runtime"] == "nvidia"
    image = instructions((ROOT / service["build"]["dockerfile"]).read_text(encoding="utf-8"))
    (volume,) = service["volumes"]
    assert volume.endswith(f":{environment_of(image)['LD_LIBRARY_PATH']}:ro")


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read(DEPLOY / "coldspot.service", encoding="utf-8")
    return parser


def test_the_unit_writes_only_where_it_may(unit: ConfigParser) -> None:
    service = unit["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["User"] == "coldspot"
    assert service["NoNewPrivileges"] == "true"
    text = (DEPLOY / "coldspot.service").read_text(encoding="utf-8")
    places = re.findall(r"^Environment=(?:\w*DIR)=(\S+)$", text, re.MULTILINE)
    assert len(places) == 3
    for place in places:
        assert place.startswith(("/var/lib/coldspot/", "/var/cache/coldspot/", "/tmp/"))  # noqa: S108 - its own


def test_systemd_finds_little_exposed() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    found = subprocess.run(
        [
            analyze,
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold=35",
            str(DEPLOY / "coldspot.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stdout[-400:] + found.stderr


@pytest.mark.acceptance
@pytest.mark.timeout(1500)
def test_the_steps_work_without_an_engine() -> None:
    """Built and started twice outside a container: see what deploy/rehearse.py can and cannot do."""
    # Not tmp_path: above it stands a folder that no other user may enter.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        done = rehearse("Dockerfile.x86", Path(name))
    assert len(done.steps) == 8
    assert done.models == []
    assert done.written_outside == []
    assert done.exit_codes == [0, 0]
