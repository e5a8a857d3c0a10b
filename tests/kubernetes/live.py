"""The programs under the manifests' command lines, with the README's secrets, on this machine.

Volumes become folders, names and ports those of this machine; flags and files are the manifests'.
"""

import http.client
import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import time

import manifests as m

PATIENCE_S = 120


class Failure(Exception):
    pass


def wait_for(what, condition):
    """The first true value of condition(), which is asked again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise Failure(f"{what}: not within {PATIENCE_S} s")


class Pod:
    """One container of a manifest as a process."""

    def __init__(self, cluster, name, manifest):
        self.cluster = cluster
        self.name = name
        self.manifest = manifest
        self.container = m.containers(manifest)[0]
        self.folders = {
            mount["mountPath"]: cluster.volume(name, manifest, mount["name"])
            for mount in self.container.get("volumeMounts", [])
        }
        self.log = cluster.work / f"{name}.log"
        self.process = None

    def here(self, text):
        """`text` with the paths, variables and addresses of this machine."""
        paths = "|".join(sorted(self.folders, key=len, reverse=True))
        text = re.sub(rf"(?<![\w/])({paths})(?=/|$)", lambda hit: str(self.folders[hit[1]]), text)
        text = text.replace("$(POD_NAME)", self.name).replace("$(CPUS)", "1")
        return re.sub(r"(listen=[\d.]+):\d+", r"\1:0", text).replace(
            "espalier-coordinator:7070", self.cluster.address
        )

    def start(self):
        program = self.cluster.programs / self.container["command"][0]
        command = [str(program)] + [self.here(argument) for argument in self.container["args"]]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, stderr=log, cwd=self.cluster.work, start_new_session=True
            )
        self.cluster.pods.append(self)

    def says(self, pattern):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended:\n{self.log.read_text()}")
        return re.search(pattern, self.log.read_text())

    def stop(self):
        """As the kubelet does it: SIGTERM, and SIGKILL when the time is over."""
        seconds = self.manifest.pod_template()["spec"]["terminationGracePeriodSeconds"]
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{self.name}: SIGTERM did not end it in {seconds} s") from error
        if status != 0:
            raise Failure(f"{self.name}: SIGTERM ended it with {status}")


class Cluster:
    def __init__(self, deployment, programs, work):
        self.deployment = deployment
        self.programs = programs
        self.work = work
        self.pods = []
        self.address = ""
        self.certs = work / "certs"
        self.results = None
        making = re.search(r"scripts/make-dev-certs certs (.*)", deployment.readme())
        subprocess.run(
            [deployment.root / "scripts/make-dev-certs", self.certs, *shlex.split(making[1])],
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def volume(self, pod, manifest, name):
        """The folder that stands for a volume."""
        spec = manifest.pod_template()["spec"]
        source = next((v for v in spec.get("volumes", []) if v["name"] == name), {})
        if "persistentVolumeClaim" in source:
            return self.deployment.root / "models"
        folder = self.work / pod / name
        folder.mkdir(parents=True)
        if "secret" in source:
            secret = source["secret"]["secretName"]
            for key, file in m.secrets_of_readme(self.deployment.readme())[secret].items():
                (folder / key).write_bytes((self.work / file).read_bytes())
                (folder / key).chmod(source["secret"]["defaultMode"])
        if "configMap" in source:
            configs = {c.name: c.data["data"] for c in self.deployment.of_kind("ConfigMap")}
            for key, text in configs[source["configMap"]["name"]].items():
                (folder / key).write_text(text)
        return folder

    def espalier(self, *arguments, token="client-token"):
        security = {
            "ESPALIER_TLS_CA": self.certs / "ca.pem",
            "ESPALIER_TLS_CERT": self.certs / "client.pem",
            "ESPALIER_TLS_KEY": self.certs / "client-key.pem",
            "ESPALIER_TOKEN_FILE": self.certs / token,
            "ESPALIER_COORDINATOR": self.address,
        }
        environment = os.environ | {name: str(value) for name, value in security.items()}
        ran = subprocess.run(
            [self.programs / "espalier", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise Failure(f"espalier {' '.join(arguments)}: {ran.stderr}")
        return ran.stdout

    def end(self):
        for pod in reversed(self.pods):
            if pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()


def ask(port, path, certificate_authority=None, token=None):
    """The status of an HTTPS answer; None when there is none."""
    tls = ssl.create_default_context(cafile=certificate_authority)
    if certificate_authority is None:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPSConnection("localhost", port, timeout=5, context=tls)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def probe(pod, kind, port):
    """Whether the probe is content, as the kubelet asks: it checks no certificate."""
    return ask(port, pod.container[kind]["httpGet"]["path"]) == 200


def check_metrics(cluster, port):
    """As Prometheus asks for them, and as somebody who may not."""
    authority = str(cluster.certs / "ca.pem")
    token = (cluster.certs / "client-token").read_text().split()[-1]
    if ask(port, "/metrics", authority, token) != 200:
        raise Failure("the metrics cannot be had with a client's token")
    if ask(port, "/metrics", authority) != 401 or ask(port, "/metrics", authority, "x" * 32) != 401:
        raise Failure("the metrics can be had without a token")


def check_token(cluster):
    try:
        cluster.espalier("list", token="worker-token")
    except Failure as refusal:
        if "token" in str(refusal):
            return
        raise
    raise Failure("a worker's token lets its owner act as a client")


def check_certificate(cluster):
    """It must be for the name that workers dial in a cluster; here they dial localhost."""
    for service in cluster.deployment.of_kind("Service"):
        shown = subprocess.run(
            ["openssl", "x509", "-in", cluster.certs / "coordinator.pem", "-noout"]
            + ["-checkhost", service.name],
            capture_output=True,
            text=True,
            check=True,
        )
        if "does match" not in shown.stdout:
            raise Failure(f"the README's certificate is not for {service.name}")


def run(deployment, programs, work):
    cluster = Cluster(deployment, programs, work)
    by_name = {manifest.name: manifest for manifest in deployment.pods()}
    try:
        check_certificate(cluster)
        coordinator = Pod(cluster, "coordinator-0", by_name["espalier-coordinator"])
        coordinator.start()
        status = wait_for("status", lambda: coordinator.says(r"status on https://[\d.]+:(\d+)/"))
        port = wait_for("the coordinator", lambda: coordinator.says(r"listening on [\d.]+:(\d+)"))
        cluster.address = f"localhost:{port[1]}"
        for kind in ["startupProbe", "livenessProbe", "readinessProbe"]:
            if not probe(coordinator, kind, int(status[1])):
                raise Failure(f"{kind} is not content with a coordinator that runs")
        check_metrics(cluster, int(status[1]))

        worker = Pod(cluster, "cpu-0", by_name["espalier-cpu"])
        worker.start()
        wait_for("the worker", lambda: '"cpu-0"' in cluster.espalier("workers", "--json"))
        result = coordinator.folders["/results"] / "orchard-80"
        models = deployment.root / "models/orchard"
        job = {
            "model": str(models),
            "text": {"path": str(models / "valid.txt"), "format": "wikitext"},
            "method": "paper",
            "target": 0.8,
            "output": str(result),
            "calibration": {"sequences": 8},
            "search": {"generations": 2, "mutations": 4, "crossovers": 2, "sequences": 2}
            | {"initial_mutations": 2, "survivors": 2},
        }
        (work / "job.yaml").write_text(json.dumps(job))
        cluster.espalier("submit", str(work / "job.yaml"), "--wait", "--quiet")
        if not (result / "subnet.json").exists():
            raise Failure("the job left no result")
        worker.stop()
        check_token(cluster)
        coordinator.stop()
        if probe(coordinator, "livenessProbe", int(status[1])):
            raise Failure("the probe is content with a coordinator that is gone")
    finally:
        cluster.end()
