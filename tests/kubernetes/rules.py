"""What the manifests must agree on: with each other, with the programs and the documentation.

Every rule is given the Deployment and returns what is wrong, a line each.
"""

import configparser
import dataclasses
import re

import manifests as m

# Without these a caller could go unproven or a path unchecked, though the programs might start.
PROTECTION = {
    "espalier-coordinator": {
        *("--tls-cert", "--tls-key", "--tls-client-ca", "--token-file", "--worker-token-file"),
        *("--model-root", "--output-root"),
    },
    "espalier-worker": {"--tls-ca", "--tls-cert", "--tls-key", "--token-file", "--model-root"},
}
NAMESPACE = "espalier"


@dataclasses.dataclass
class Deployment:
    root: object  # the repository
    folder: object  # deploy/kubernetes
    manifests: list
    kustomizations: list
    help: dict  # of each program

    def of_kind(self, *kinds):
        return [manifest for manifest in self.manifests if manifest.kind in kinds]

    def pods(self):
        return [manifest for manifest in self.manifests if manifest.pod_template()]

    def ours(self):
        """(manifest, container) of every container that runs a program of ours."""
        return [(pod, c) for pod in self.pods() for c in m.containers(pod) if m.program(c)]

    def default(self, program, flag):
        """As --help shows it."""
        return re.search(rf"{flag} [^=\n]*=(\S+)", self.help[program])[1]

    def readme(self):
        return (self.folder / "README.md").read_text()


def flags_exist(d):
    for manifest, container in d.ours():
        known = set(re.findall(r"(?<![\w-])--[\w-]+", d.help[m.program(container)]))
        for flag in m.flags(container):
            if flag == "--insecure":
                yield f"{manifest}: --insecure"
            elif flag not in known:
                yield f"{manifest}: {m.program(container)} --help does not know {flag}"


def callers_prove_who_they_are(d):
    for manifest, container in d.ours():
        for flag in sorted(PROTECTION[m.program(container)] - set(m.flags(container))):
            yield f"{manifest}: no {flag}"


def variables_are_defined(d):
    for manifest, container in d.ours():
        defined = {variable["name"] for variable in container.get("env", [])}
        for argument in container.get("args", []):
            for name in re.findall(r"\$\((\w+)\)", argument):
                if name not in defined:
                    yield f"{manifest}: $({name}) in {argument} is not in env"


def images_are_built(d):
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (d.root / "Dockerfile").read_text(), re.M)
    for manifest in d.pods():
        for container in m.containers(manifest):
            name, _, tag = container["image"].partition(":")
            if name != "espalier" or tag not in stages or tag.startswith("build"):
                yield f"{manifest}: no stage of the Dockerfile is {container['image']}"
            elif f"espalier:{tag}" not in d.readme():
                yield f"{manifest}: README.md does not say how {container['image']} is built"


def ports_agree(d):
    port = d.default("espalier-coordinator", "--listen").rpartition(":")[2]
    status = d.default("espalier-coordinator", "--status-listen").rpartition(":")[2]
    for manifest, container in d.ours():
        declared = {str(p["containerPort"]) for p in container.get("ports", [])}
        used = m.flags(container)
        listening = set()
        for flag in ["--listen", "--status-listen", "--stage-listen"]:
            listening |= {value.rpartition(":")[2] for value in used.get(flag, [])}
        if listening != declared:
            yield f"{manifest}: listens on {listening}, declares {declared}"
        for flag, expected in [("--listen", port), ("--status-listen", status)]:
            for value in used.get(flag, []):
                if value.rpartition(":")[2] != expected:
                    yield f"{manifest}: {flag}={value}, expected port {expected}"
        for value in used.get("--coordinator", []):
            host, _, dialled = value.rpartition(":")
            services = {s.name: s.data["spec"]["ports"] for s in d.of_kind("Service")}
            if dialled not in {str(p["port"]) for p in services.get(host, [])}:
                yield f"{manifest}: no Service is {value}"
    for service in d.of_kind("Service"):
        numbers = {"grpc": port, "status": status}
        targets = [c for pod, c in d.ours() if selects(service.data["spec"]["selector"], pod)]
        names = {p["name"] for c in targets for p in c.get("ports", [])}
        for entry in service.data["spec"]["ports"]:
            number = numbers.get(entry["name"])
            if entry.get("targetPort") not in names or str(entry["port"]) != number:
                yield f"{service}: port {entry} leads to none of {names}, or is not {number}"
    for policy in d.of_kind("NetworkPolicy"):
        for rule in policy.data["spec"].get("ingress", []) + policy.data["spec"].get("egress", []):
            for entry in rule.get("ports", []):
                if str(entry["port"]) not in {port, status, "53"}:
                    yield f"{policy}: port {entry['port']}"


def probes_agree(d):
    status = d.default("espalier-coordinator", "--status-listen").rpartition(":")[2]
    paths = re.findall(r"^\| `(/\w+)` \|", (d.root / "docs/status.md").read_text(), re.M)
    for manifest, container in d.ours():
        listening = m.flags(container).get("--status-listen", [])
        if listening and listening != [f"0.0.0.0:{status}"]:
            yield f"{manifest}: --status-listen={listening}"
        ports = {p["name"]: str(p["containerPort"]) for p in container.get("ports", [])}
        for kind in ["startupProbe", "livenessProbe", "readinessProbe"]:
            if m.program(container) != "espalier-coordinator":
                continue
            asks = container.get(kind, {}).get("httpGet", {})
            path = "/readyz" if kind == "readinessProbe" else "/livez"
            if path not in paths or asks.get("path") != path:
                yield f"{manifest}: {kind} asks for {asks.get('path')}, expected {path}"
            if asks.get("scheme") != "HTTPS" or ports.get(asks.get("port")) != status:
                yield f"{manifest}: {kind} does not ask port {status} over HTTPS"


def references_lead_somewhere(d):
    secrets = m.secrets_of_readme(d.readme())
    configs = {c.name: set(c.data["data"]) for c in d.of_kind("ConfigMap")}
    claims = {c.name for c in d.of_kind("PersistentVolumeClaim")}
    for manifest in d.pods():
        spec = manifest.pod_template()["spec"]
        files = {name: None for name in manifest.claims()}  # of each volume; None: any
        for volume in spec.get("volumes", []):
            files[volume["name"]] = None
            if "secret" in volume:
                files[volume["name"]] = secrets.get(volume["secret"]["secretName"], set())
            if "configMap" in volume:
                files[volume["name"]] = configs.get(volume["configMap"]["name"], set())
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims:
                yield f"{manifest}: no claim is {claim}"
        mounted = [mount for c in m.containers(manifest) for mount in c.get("volumeMounts", [])]
        for name in set(files) ^ {mount["name"] for mount in mounted}:
            yield f"{manifest}: volume {name} is not both defined and mounted"
        for container in m.containers(manifest):
            yield from paths_exist(manifest, container, files)


def paths_exist(manifest, container, files):
    mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
    values = [v for vs in m.flags(container).values() for v in vs] if m.program(container) else []
    for value in values:
        if value is None or not value.startswith("/"):
            continue
        under = [path for path in mounts if value == path or value.startswith(path + "/")]
        if not under:
            yield f"{manifest}: {value} is on no volume"
            continue
        there = files.get(mounts[under[0]])
        if there is not None and value[len(under[0]) + 1 :] not in there:
            yield f"{manifest}: {value} is not in {mounts[under[0]]}: {sorted(there)}"


def selects(selector, pod):
    labels = pod.pod_template()["metadata"].get("labels", {})
    for key, value in selector.get("matchLabels", selector).items():
        if key != "matchExpressions" and labels.get(key) != value:
            return False
    return all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )


def selectors_select(d):
    for manifest in d.of_kind("Service", "PodDisruptionBudget", "StatefulSet", "Deployment"):
        if not any(selects(manifest.data["spec"]["selector"], pod) for pod in d.pods()):
            yield f"{manifest}: selects no pod"
    for policy in d.of_kind("NetworkPolicy"):
        peers = [policy.data["spec"]["podSelector"]]
        for rule in policy.data["spec"].get("ingress", []) + policy.data["spec"].get("egress", []):
            # Those of other namespaces are not ours.
            ours = [p for p in rule.get("from", []) + rule.get("to", [])
                    if "namespaceSelector" not in p]
            peers += [p["podSelector"] for p in ours]
        for peer in peers:
            if not any(selects(peer, pod) for pod in d.pods()):
                yield f"{policy}: {peer} selects no pod"
    for pod in d.of_kind("Deployment", "LeaderWorkerSet"):
        budgets = d.of_kind("PodDisruptionBudget")
        if not any(selects(b.data["spec"]["selector"], pod) for b in budgets):
            yield f"{pod}: no PodDisruptionBudget"


def pods_are_confined(d):
    user = int(re.search(r"--uid (\d+)", (d.root / "Dockerfile").read_text())[1])
    for manifest in d.pods():
        spec = manifest.pod_template()["spec"]
        pod = spec.get("securityContext", {})
        if not (pod.get("runAsNonRoot") and pod.get("runAsUser") == user == pod.get("fsGroup")):
            yield f"{manifest}: is not run as the image's user {user}"
        if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{manifest}: no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{manifest}: is given a token for the API server"
        for container in m.containers(manifest):
            own = container.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{manifest}: may gain privileges"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{manifest}: may write to its image"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{manifest}: has capabilities"
            resources = container.get("resources", {})
            if "memory" not in resources.get("limits", {}) or "requests" not in resources:
                yield f"{manifest}: no resources"
            if container["image"].endswith(":cuda") and "1" != resources["limits"].get(
                "nvidia.com/gpu"
            ):
                yield f"{manifest}: not one GPU"


def time_to_end_is_that_of_systemd(d):
    units = {"espalier-coordinator": "espalier-coordinator", "espalier-worker": "espalier-worker@"}
    for manifest, container in d.ours():
        unit = configparser.RawConfigParser(strict=False, allow_no_value=True)
        unit.optionxform = str
        name = f"deploy/systemd/{units[m.program(container)]}.service"
        unit.read(d.root / name)
        seconds = int(unit["Service"]["TimeoutStopSec"])
        if manifest.pod_template()["spec"].get("terminationGracePeriodSeconds") != seconds:
            yield f"{manifest}: terminationGracePeriodSeconds is not {name}'s {seconds}"


def everything_is_in_the_namespace(d):
    for manifest in d.manifests:
        name = manifest.data.get("metadata", {}).get("namespace")
        if manifest.kind != "Namespace" and name != NAMESPACE:
            yield f"{manifest}: namespace {name}"
        if manifest.kind == "Namespace" and manifest.name != NAMESPACE:
            yield f"{manifest}: is not {NAMESPACE}"


def kustomizations_are_whole(d):
    for path, data in d.kustomizations:
        files = {entry.name for entry in path.parent.glob("*.yaml")} - {m.KUSTOMIZATION}
        listed = set(data["resources"])
        for name in listed:
            if not (path.parent / name).exists():
                yield f"{path}: {name} is not there"
        for name in files - listed:
            yield f"{path}: {name} is not listed"
        if f"deploy/kubernetes/{path.parent.name}" not in d.readme() and (
            f"`{path.parent.name}" not in d.readme()
        ):
            yield f"{path}: not in README.md"


RULES = [
    flags_exist,
    callers_prove_who_they_are,
    variables_are_defined,
    images_are_built,
    ports_agree,
    probes_agree,
    references_lead_somewhere,
    selectors_select,
    pods_are_confined,
    time_to_end_is_that_of_systemd,
    everything_is_in_the_namespace,
    kustomizations_are_whole,
]
