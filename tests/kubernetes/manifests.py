"""The manifests as they are written, and what the checks ask of them."""

import pathlib
import re
import shutil
import subprocess

import yaml

KUSTOMIZATION = "kustomization.yaml"


class Manifest:
    """One document of one file."""

    def __init__(self, source, data):
        self.source = source
        self.data = data
        self.kind = data.get("kind", "")
        self.name = data.get("metadata", {}).get("name", "")

    def __str__(self):
        return f"{self.source}: {self.kind} {self.name}"

    def pod_template(self):
        """Metadata and spec of the pods that it makes; None when it makes none."""
        if self.kind == "Pod":
            return self.data
        if self.kind == "LeaderWorkerSet":
            return self.data["spec"]["leaderWorkerTemplate"]["workerTemplate"]
        return self.data.get("spec", {}).get("template")

    def claims(self):
        """Names of the volumes that come with each pod."""
        templates = self.data.get("spec", {}).get("volumeClaimTemplates", [])
        return [template["metadata"]["name"] for template in templates]


def parse(source, text):
    return [Manifest(source, data) for data in yaml.safe_load_all(text) if data]


def load(folder):
    """All manifests below `folder`, and its kustomizations."""
    manifests, kustomizations = [], []
    for path in sorted(pathlib.Path(folder).rglob("*.yaml")):
        source = str(path.relative_to(folder))
        if path.name == KUSTOMIZATION:
            kustomizations.append((path, yaml.safe_load(path.read_text())))
        else:
            manifests += parse(source, path.read_text())
    return manifests, kustomizations


def kustomized(path):
    """What `kubectl apply -k` would send; None without kubectl."""
    if shutil.which("kubectl") is None:
        return None
    built = subprocess.run(
        ["kubectl", "kustomize", str(path.parent)], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise ValueError(built.stderr.strip())
    return parse(f"kustomize {path.parent.name}", built.stdout)


def containers(manifest):
    """Its containers; their volumes are those of pod_template()."""
    template = manifest.pod_template()
    if template is None:
        return []
    spec = template["spec"]
    return spec.get("initContainers", []) + spec["containers"]


def flags(container):
    """{--flag: [values]} of a container that runs one of our programs."""
    found = {}
    for argument in container.get("args", []):
        match = re.fullmatch(r"(--[\w-]+)(?:=(.*))?", argument)
        if match is None:
            raise ValueError(f"\"{argument}\" is not --flag or --flag=value")
        found.setdefault(match[1], []).append(match[2])
    return found


def program(container):
    """The program of ours that it runs; "" for another one."""
    command = container.get("command", [""])[0]
    return command if command.startswith("espalier") else ""


def secrets_of_readme(text):
    """{secret: {key: file}} of the `kubectl create secret generic` commands."""
    found = {}
    for command in re.findall(r"kubectl create secret generic ((?:.*\\\n)*.*)", text):
        words = command.replace("\\\n", " ").split()
        pairs = [word.split("=")[1:] for word in words if word.startswith("--from-file=")]
        found[words[0]] = {key: file for key, file in pairs}
    return found
