#!/usr/bin/env python3
"""Looks at the coordinator's live page in a real browser while a job runs.

Starts a coordinator and a worker, submits examples/orchard.yaml under a name that is HTML, and
drives a headless Chromium through chromedriver (Debian: chromium, chromium-driver). Fails unless
the page shows the job, its curve and what the worker does, takes the name as text, says when the
coordinator is gone, comes back by itself, and fits a narrow screen.

Usage: tests/status_page_check.py [--bin build/release/bin] [--screenshots FOLDER]
"""

import argparse
import base64
import contextlib
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

PATIENCE_S = 120
NAME = "<img src=x onerror=\"document.title='broken'\">"


class Failure(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition):
    """The first true value of condition(), which is asked again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise Failure(f"{what}: not within {PATIENCE_S} s")


class Browser:
    """As much of the WebDriver protocol as is needed here."""

    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.base += "/session/" + self.call("/session", wanted)["sessionId"]

    def call(self, path, body):
        request = urllib.request.Request(
            self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.call("/url", {"url": url})

    def script(self, code):
        return self.call("/execute/sync", {"script": code, "args": []})

    def text(self, selector):
        return self.script(f"return document.querySelector({json.dumps(selector)})?.innerText || ''")

    def devtools(self, command, **params):
        return self.call("/goog/cdp/execute", {"cmd": command, "params": params})

    def screen(self, width, height, dark):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file):
        data = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def close(self):
        urllib.request.urlopen(urllib.request.Request(self.base, method="DELETE"), timeout=20)


class Check:
    def __init__(self, binaries, work, stack):
        self.binaries, self.work, self.stack = binaries, work, stack
        self.grpc, self.http = free_port(), free_port()

    def start(self, *command):
        log = self.stack.enter_context(open(self.work / "log.txt", "ab"))
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        self.stack.callback(self.stop, process, signal.SIGTERM)
        return process

    @staticmethod
    def stop(process, how):
        if process.poll() is None:
            process.send_signal(how)
        process.wait(timeout=60)

    def answers(self, url):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def coordinator(self):
        process = self.start(self.binaries / "espalier-coordinator", "--listen",
                             f"127.0.0.1:{self.grpc}", "--status-listen", f"127.0.0.1:{self.http}")
        wait_for("the coordinator", lambda: self.answers(f"http://127.0.0.1:{self.http}/readyz"))
        return process

    def submit(self):
        job = pathlib.Path("examples/orchard.yaml").read_text()
        job = re.sub(r"(?m)^name:.*$", lambda _: "name: " + json.dumps(NAME), job)
        job = re.sub(r"(?m)^output:.*$", lambda _: f"output: {self.work / 'result'}", job)
        (self.work / "job.yaml").write_text(job)
        subprocess.run([self.binaries / "espalier", "submit", "--coordinator",
                        f"127.0.0.1:{self.grpc}", self.work / "job.yaml"],
                       check=True, stdout=subprocess.DEVNULL)

    def browser(self):
        port = free_port()
        self.start("chromedriver", f"--port={port}")
        wait_for("chromedriver", lambda: self.answers(f"http://127.0.0.1:{port}/status"))
        browser = Browser(port)
        self.stack.callback(browser.close)
        return browser


def require(what, condition):
    if not condition:
        raise Failure(f"{what}: it is not so")
    print(f"ok: {what}")


def check_running(browser):
    wait_for("the page", lambda: browser.text("#connection") == "live")
    wait_for("the search", lambda: browser.text("#job .phases [data-at=now]") == "search")
    wait_for("a curve", lambda: browser.script(
        "return document.querySelectorAll('#job .curve .line').length") == 1)
    require("the job's name is text", browser.text("#jobs .name") == NAME)
    require("nothing of the name became HTML", browser.script(
        "return document.images.length === 0 && document.title === 'Espalier'"))
    require("progress is counted", re.search(r"\d+ of 2,000 candidates", browser.text("#job")))
    require("a best perplexity shows", re.search(r"\d\.\d+", browser.text("#job .figures b")))
    require("the worker's work shows", "scoring" in wait_for(
        "the worker", lambda: browser.text("#workers .card")))


def check_narrow(browser):
    browser.screen(360, 800, dark=False)
    width = wait_for("a redrawn page", lambda: browser.script(
        "return document.documentElement.scrollWidth"))
    require("the page fits a screen of 360 pixels", width <= 360)


def check_dark(browser):
    browser.screen(1280, 900, dark=True)
    ground = browser.script("return getComputedStyle(document.body).backgroundColor")
    require("dark mode is dark", all(int(part) < 60 for part in re.findall(r"\d+", ground)[:3]))


def run(binaries, screenshots, work, stack):
    check = Check(binaries, work, stack)
    coordinator = check.coordinator()
    check.start(binaries / "espalier-worker", "--coordinator", f"127.0.0.1:{check.grpc}",
                "--threads", "1")
    check.submit()
    browser = check.browser()

    def keep(name):
        if screenshots is not None:
            browser.screenshot(screenshots / f"{name}.png")

    browser.screen(1280, 900, dark=False)
    browser.open(f"http://127.0.0.1:{check.http}/")
    check_running(browser)
    keep("wide")
    check_narrow(browser)
    keep("narrow")
    check_dark(browser)
    keep("dark")
    Check.stop(coordinator, signal.SIGKILL)
    wait_for("the page says that the coordinator is gone",
             lambda: browser.script("return !document.getElementById('lost').hidden"))
    require("it says so in words", "is lost" in browser.text("#lost"))
    keep("lost")
    check.coordinator()
    wait_for("the page comes back", lambda: browser.text("#connection") == "live")
    require("the message is gone", browser.script("return document.getElementById('lost').hidden"))
    print("ok: the page connects again by itself")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder for pictures of the page")
    flags = parser.parse_args()
    if flags.screenshots is not None:
        flags.screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        try:
            run(flags.bin, flags.screenshots, pathlib.Path(work), stack)
        except Failure as failure:
            log = (pathlib.Path(work) / "log.txt").read_text(errors="replace")
            sys.exit(f"{log}\nstatus_page_check: {failure}")
    print("The status page does what it should.")


if __name__ == "__main__":
    main()
