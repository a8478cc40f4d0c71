"""What the manifests in deploy/ promise, rendered by kustomize and held against Kubernetes' own schemas."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from tests.unit.test_compose import command_of, exec_form
from worker.settings import PREFIX, Settings

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "how-to" / "kubernetes.md").read_text()
OVERLAYS = ("small", "rabbitmq-keda")
LONG_RUNNING = {"worker", "publisher", "beat", "flower", "serve"}
SETTINGS = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
KUSTOMIZE = next(
    (
        command
        for command in (["kubectl", "kustomize"], ["kustomize", "build"])
        if shutil.which(command[0])
    ),
    None,
)

pytestmark = pytest.mark.skipif(
    KUSTOMIZE is None, reason="there is no kubectl and no kustomize here; deploy/ is untested"
)
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
each_component = pytest.mark.parametrize("name", sorted(LONG_RUNNING | {"upgrade"}))


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """Every resource of an overlay."""
    assert KUSTOMIZE is not None
    text = subprocess.run(
        [*KUSTOMIZE, str(CHECKOUT / "deploy" / "overlays" / overlay)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(yaml.safe_load_all(text))


def of_kind(overlay: str, kind: str) -> list[dict[str, Any]]:
    return [one for one in rendered(overlay) if one["kind"] == kind]


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    """The pod templates, by component."""
    templates = [
        one["spec"]["template"] for kind in ("Deployment", "Job") for one in of_kind(overlay, kind)
    ]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in templates}


def container(overlay: str, name: str) -> dict[str, Any]:
    (only,) = pods(overlay)[name]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def settings_of(overlay: str) -> dict[str, str]:
    (found,) = of_kind(overlay, "ConfigMap")
    values: dict[str, str] = found["data"]
    return values


def secrets_of(pod: dict[str, Any]) -> set[str]:
    """The secrets that a pod sees."""
    (only,) = pod["spec"]["containers"]
    named = {one["valueFrom"]["secretKeyRef"]["name"] for one in only["env"] if "valueFrom" in one}
    mounted = {one["secret"]["secretName"] for one in pod["spec"]["volumes"] if "secret" in one}
    return named | mounted


@each_overlay
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_every_resource_fits_the_schemas_of_kubernetes(overlay: str, version: str) -> None:
    checked = [one for one in rendered(overlay) if "keda.sh" not in one["apiVersion"]]
    assert len(checked) > 12
    for one in checked:
        kubernetes_validate.validate(one, version, strict=True)


@each_overlay
def test_everything_that_compose_runs_runs_here(overlay: str) -> None:
    assert set(pods(overlay)) == LONG_RUNNING | {"upgrade"}


@each_overlay
@each_component
def test_no_container_has_a_privilege_or_writes_to_its_image(overlay: str, name: str) -> None:
    pod, only = pods(overlay)[name]["spec"], container(overlay, name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "flowshift"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001, "the Dockerfile's"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {one["mountPath"] for one in only["volumeMounts"]}
    assert "/tmp" in mounted
    assert all("sizeLimit" in one["emptyDir"] for one in pod["volumes"] if "emptyDir" in one)


@each_overlay
@each_component
def test_every_container_is_bounded(overlay: str, name: str) -> None:
    resources = container(overlay, name)["resources"]
    assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["requests"])
    assert {"memory", "ephemeral-storage"} <= set(resources["limits"])


@each_overlay
@pytest.mark.parametrize(("name", "processes"), [("worker", None), ("publisher", 1)])
def test_a_worker_has_memory_for_its_processes_and_256_mib_besides(
    overlay: str, name: str, processes: int | None
) -> None:
    values = settings_of(overlay)
    count = processes or int(values["FLOWSHIFT_WORKER_PROCESSES"])
    needed = count * int(values["FLOWSHIFT_CHILD_MEMORY_MB"]) + 256
    assert container(overlay, name)["resources"]["limits"]["memory"] == f"{needed}Mi"


@each_overlay
@pytest.mark.parametrize("name", ["worker", "publisher"])
def test_a_worker_has_ten_seconds_more_to_end_than_its_batches(overlay: str, name: str) -> None:
    batches_s = int(settings_of(overlay)["FLOWSHIFT_SHUTDOWN_S"])
    assert pods(overlay)[name]["spec"]["terminationGracePeriodSeconds"] == batches_s + 10


@each_overlay
@each_component
def test_a_command_exists_with_all_its_options(overlay: str, name: str) -> None:
    only = container(overlay, name)
    command, rest = command_of([*only.get("command", exec_form("ENTRYPOINT")), *only["args"]])
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in rest} <= known
    used = set(re.findall(r"\$\((\w+)\)", " ".join(only["args"])))
    assert used <= set(settings_of(overlay)), "Kubernetes leaves an unknown name as it is"


@each_overlay
@pytest.mark.parametrize("name", sorted(LONG_RUNNING - {"serve"}))
def test_probes_ask_whether_what_runs_in_this_pod_works_and_forgive_an_absent_database(
    overlay: str, name: str
) -> None:
    only = container(overlay, name)
    ready, alive = (only[f"{probe}Probe"]["exec"]["command"] for probe in ("readiness", "liveness"))
    kind = "worker" if name == "publisher" else name
    assert ready == ["flowshift", "health", kind, "--here"]
    assert alive == [*ready, "--unreachable-ok"]
    command, rest = command_of(alive)
    assert rest[0] in command.params[0].type.choices  # type: ignore[attr-defined]
    assert only["startupProbe"]["exec"]["command"] == ready
    assert only["livenessProbe"]["timeoutSeconds"] >= 10


@each_overlay
def test_serve_is_asked_over_http_under_a_name_that_it_answers_to(overlay: str) -> None:
    only = container(overlay, "serve")
    paths = {probe: only[f"{probe}Probe"]["httpGet"]["path"] for probe in ("readiness", "liveness")}
    assert paths == {"readiness": "/health/ready", "liveness": "/health/live"}
    for probe in ("startup", "readiness", "liveness"):
        named = only[f"{probe}Probe"]["httpGet"]["httpHeaders"]
        assert named == [{"name": "Host", "value": "localhost"}]


@each_overlay
def test_each_role_has_a_secret_of_its_own_and_nobody_sees_anothers(overlay: str) -> None:
    seen = {name: secrets_of(pod) for name, pod in pods(overlay).items()}
    queue, worker = "flowshift-queue", "flowshift-worker"
    assert seen == {
        "upgrade": {"flowshift-owner"},
        "worker": {worker, queue},
        "publisher": {"flowshift-publisher", queue},
        "beat": {worker, queue},
        "flower": {worker, queue, "flowshift-flower"},
        "serve": {worker, queue, "flowshift-web"},
    }
    for secret in set().union(*seen.values()):
        assert f"create secret generic {secret} " in PAGE


@each_overlay
def test_settings_exist_and_hold_no_secret(overlay: str) -> None:
    assert set(settings_of(overlay)) <= SETTINGS
    for name in pods(overlay):
        own = {one["name"] for one in container(overlay, name)["env"]}
        assert own <= SETTINGS
        plain = {one["name"] for one in container(overlay, name)["env"] if "value" in one}
        assert not [one for one in plain if one.endswith(("_URL", "_AUTH"))]


@each_overlay
def test_only_pages_and_flower_are_reached_and_only_from_namespaces_that_are_let_in(
    overlay: str,
) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(overlay, "NetworkPolicy")}
    everything = policies["flowshift"]
    assert everything["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "flowshift"}}
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everything
    for pod in pods(overlay).values():
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "flowshift"
    (let_in,) = policies["flowshift-web"]["ingress"]
    assert let_in["from"] == [{"namespaceSelector": {"matchLabels": {"flowshift-web": "allowed"}}}]
    ports = {
        port["containerPort"]
        for name in ("flower", "serve")
        for port in container(overlay, name)["ports"]
    }
    assert {one["port"] for one in let_in["ports"]} == ports


@each_overlay
def test_a_disruption_takes_one_worker_at_a_time(overlay: str) -> None:
    budgets = {
        one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]: one["spec"]
        for one in of_kind(overlay, "PodDisruptionBudget")
    }
    assert set(budgets) == {"worker", "publisher", "serve"}
    assert all(one["maxUnavailable"] == 1 for one in budgets.values())


def test_with_keda_it_alone_says_how_many_workers_there_are_and_rabbitmq_is_the_queue() -> None:
    (scaled,) = of_kind("rabbitmq-keda", "ScaledObject")
    target = scaled["spec"]["scaleTargetRef"]["name"]
    (worker,) = [
        one for one in of_kind("rabbitmq-keda", "Deployment") if one["metadata"]["name"] == target
    ]
    assert "replicas" not in worker["spec"]
    assert scaled["spec"]["minReplicaCount"] >= 1, (
        "somebody has to plan runs, which have no batch yet"
    )
    for name in LONG_RUNNING:
        assert "FLOWSHIFT_BROKER_URL" in {
            one["name"] for one in container("rabbitmq-keda", name)["env"]
        }
    assert "FLOWSHIFT_BROKER_URL" not in {
        one["name"] for one in container("small", "worker")["env"]
    }
