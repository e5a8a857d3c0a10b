#!/usr/bin/env python3
"""The live page in a real browser (headless Chromium) during a running job.

A coordinator, a worker and a job on models/orchard; the browser sees them without any network but
the loopback. Checked: what the page shows before, during and after the job, that it moves without
being loaded again, that a killed coordinator shows and the page goes on with the next one, that a
page loaded afterwards has the same curve, that names are text and never HTML, that it fits a narrow
screen and has a dark form, and that no script fails. Ends every process it started.

Usage: tests/browser_test.py [FOLDER_OF_PROGRAMS] [--screenshots FOLDER]  default: build/release/bin

Exits with 77 (skipped) where there is no Chromium (Debian: chromium-headless-shell).
"""

import argparse
import base64
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BROWSERS = ["chromium-headless-shell", "chromium", "google-chrome"]
PATIENCE_S = 60
EVIL_NAME = "<b id=evil>bold</b>"


class Browser:
    """A page in a browser, driven by the DevTools protocol over a pair of pipes."""

    def __init__(self, program, folder):
        to_browser_read, self.to_browser = os.pipe()
        self.from_browser, from_browser_write = os.pipe()

        def take_pipes():
            # Chromium reads commands from 3 and writes to 4.
            commands, answers = os.dup(to_browser_read), os.dup(from_browser_write)
            os.dup2(commands, 3)
            os.dup2(answers, 4)

        self.process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             f"--user-data-dir={folder}", "--window-size=1200,1000",
             # Nobody but this machine can be reached.
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
            pass_fds=[3, 4], preexec_fn=take_pipes, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_browser_read)
        os.close(from_browser_write)
        self.last_id = 0
        self.buffer = b""
        self.failures = []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target,
                                 flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Page.enable")

    def close(self):
        self.process.kill()
        self.process.wait()

    def call(self, method, **params):
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = self.receive(until)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.failures.append(json.dumps(answer["params"]["exceptionDetails"])[:500])
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def receive(self, until):
        while b"\0" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.from_browser], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self.from_browser, 1 << 16)
            if not chunk:
                raise RuntimeError("the browser ended")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def look(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self, selector):
        return self.look(f"(document.querySelector({json.dumps(selector)}) || "
                         "{textContent: ''}).textContent")

    def screen(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise TimeoutError(f"waited {PATIENCE_S} s for {what}")


class Cluster:
    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder
        self.log = folder / "coordinator.log"
        self.processes = []
        self.listen = self.status = "127.0.0.1:0"
        self.coordinator = None

    def start(self, *command, log):
        process = subprocess.Popen([self.programs / command[0], *command[1:]],
                                   stdout=subprocess.DEVNULL, stderr=open(log, "ab"))
        self.processes.append(process)
        return process

    def start_coordinator(self):
        self.log.write_bytes(b"")
        self.coordinator = self.start(
            "espalier-coordinator", "--listen", self.listen, "--status-listen", self.status,
            "--state", str(self.folder / "state"), log=self.log)
        addresses = wait_for("the coordinator's addresses", lambda: re.findall(
            r"127\.0\.0\.1:\d+", self.log.read_text()) if "status" in self.log.read_text() else [])
        status = re.search(r"http://(127\.0\.0\.1:\d+)", self.log.read_text())
        self.status = status.group(1)
        self.listen = next(a for a in addresses if a != self.status)

    def kill_coordinator(self):
        self.coordinator.send_signal(signal.SIGKILL)
        self.coordinator.wait()

    def espalier(self, *arguments):
        done = subprocess.run(
            [self.programs / "espalier", *arguments, "--coordinator", self.listen, "--json"],
            capture_output=True, text=True, cwd=ROOT)
        if done.returncode != 0:
            raise RuntimeError(f"espalier {arguments[0]}: {done.stderr}")
        return json.loads(done.stdout)

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"ok: {what}", flush=True)


def shown_progress(page):
    value = page.look("(document.querySelector('#job .bar') || {getAttribute: () => '0'})"
                      ".getAttribute('aria-valuenow')")
    return float(value)


def curve(page):
    return page.look("(document.querySelector('#job path.line') || {getAttribute: () => ''})"
                     ".getAttribute('d')")


def check_screens(page, keep):
    page.screen(360, 800)
    width = page.look("document.documentElement.scrollWidth")
    check(width <= 360, "the page fits a screen of 360 pixels")
    keep("narrow")
    page.screen(1200, 1000, dark=True)
    ground = page.look("getComputedStyle(document.body).backgroundColor")
    check(all(int(part) < 60 for part in re.findall(r"\d+", ground)[:3]), "dark mode is dark")
    keep("dark")
    page.screen(1200, 1000)


def run(cluster, page, screenshots):
    def keep(name):
        if screenshots is not None:
            page.screenshot(screenshots / f"{name}.png")

    cluster.start_coordinator()
    page.call("Page.navigate", url=f"http://{cluster.status}/")
    wait_for("the live connection", lambda: page.text("#connection") == "live")
    check("No job yet" in page.text("#jobs"), "without jobs, the page says how to submit one")
    check("None attached" in page.text("#workers"), "without workers, it says how to start one")
    # A page that is loaded again loses this.
    page.look("window.neverLoadedAgain = true")

    cluster.start("espalier-worker", "--coordinator", cluster.listen, "--name", "browser-worker",
                  "--threads", "1", log=cluster.folder / "worker.log")
    orchard = ROOT / "models/orchard"
    job = cluster.espalier(
        "submit", "--model", str(orchard), "--text", str(orchard / "valid.txt"), "--eval-text",
        str(orchard / "test.txt"), "--text-format", "wikitext", "--ratio", "0.7", "--output",
        str(cluster.folder / "out"), "--name", EVIL_NAME, "--sequence-length", "128",
        "--search-sequences", "8", "--calibration-sequences", "8", "--eval-sequences", "8",
        "--method", "paper", "--generations", "40", "--population", "20")["id"]
    wait_for("the job's card", lambda: EVIL_NAME in page.text("#jobs"))
    check(page.look("document.getElementById('evil') === null"), "a job's name is text, not HTML")
    wait_for("the worker", lambda: "browser-worker" in page.text("#workers"))
    wait_for("the search", lambda: page.text("#job .phases li[data-at=now]") == "search")
    check(page.text("#job .pill") == "running", "the job runs, and its phase is marked")
    first = wait_for("progress", lambda: shown_progress(page))
    wait_for("more progress", lambda: shown_progress(page) > first)
    wait_for("the worker's activity", lambda: "scoring" in page.text("#workers").lower())
    check(True, "the worker's card says what it does")
    wait_for("the curve", lambda: len(curve(page)) > 20)
    check(True, "progress moves and the curve of the best perplexity is drawn")
    keep("wide")
    check_screens(page, keep)

    cluster.kill_coordinator()
    wait_for("the loss to show", lambda: page.text("#connection") == "connection lost")
    check("is lost" in page.text("#lost") and
          not page.look("document.getElementById('lost').hidden"), "a killed coordinator shows")
    keep("lost")
    cluster.start_coordinator()
    wait_for("the next coordinator", lambda: page.text("#connection") == "live")
    check(EVIL_NAME in page.text("#jobs") and
          page.look("document.getElementById('lost').hidden"),
          "the page goes on with the next coordinator")

    wait_for("the end of the job", lambda: page.text("#job .pill") == "succeeded")
    result = cluster.espalier("result", job)
    table = wait_for("the closing table", lambda: page.text("#job table"))
    shown = f"{result['reformed']['perplexity']:.4g}"
    check(all(name in table for name in ["dense", "initial", "searched", "reformed"]) and
          shown in table, f"the closing table has the result ({shown})")
    check(page.look("window.neverLoadedAgain === true"), "the page was never loaded again")
    wait_for("the last point of the curve", lambda: page.text("#job figcaption") and
             page.look("state.row === JSON.stringify(state.status.jobs[0])"))
    before = curve(page)
    page.call("Page.reload")
    wait_for("the page to be back", lambda: page.look("window.neverLoadedAgain") is None and
             curve(page))
    check(curve(page) == before, "a page loaded afterwards has the same curve")
    check(page.failures == [], f"no script failed {page.failures}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("programs", nargs="?", default=ROOT / "build/release/bin",
                        type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder for pictures of the page")
    args = parser.parse_args()
    if args.screenshots is not None:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        print("skipped: no Chromium is installed (Debian: chromium-headless-shell)")
        sys.exit(77)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = pathlib.Path(folder)
        cluster = Cluster(args.programs.resolve(), folder)
        page = Browser(program, folder / "profile")
        try:
            run(cluster, page, args.screenshots)
        except Exception:
            print(f"the page's job:\n{page.text('#job')[:2000]}", file=sys.stderr)
            print(cluster.log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            page.close()
            cluster.close()


if __name__ == "__main__":
    main()
