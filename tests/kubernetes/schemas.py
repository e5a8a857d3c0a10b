"""Manifests against schemas: Kubernetes' own, and a small one of ours for LeaderWorkerSet."""

import json
import pathlib

import jsonschema
import kubernetes_validate

# Oldest and newest that deploy/kubernetes/README.md names.
VERSIONS = ["1.27", "1.37"]
LEADER_WORKER_SET = pathlib.Path(__file__).with_name("leader_worker_set.json")


def check(manifest):
    """What is wrong with it, a line each."""
    try:
        documents = [manifest.data]
        if manifest.kind == "LeaderWorkerSet":
            schema = json.loads(LEADER_WORKER_SET.read_text())
            jsonschema.Draft202012Validator(schema).validate(manifest.data)
            documents = [pod_of(manifest)]
        for document in documents:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
    except jsonschema.ValidationError as error:
        place = ".".join(str(step) for step in error.absolute_path)
        return [f"{manifest}: {place}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{manifest}: {error.message}"]
    return []


def pod_of(manifest):
    template = manifest.pod_template()
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", **template.get("metadata", {})},
        "spec": template["spec"],
    }
