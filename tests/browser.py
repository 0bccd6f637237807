"""A headless Chromium over the DevTools protocol: pages in a width and a colour scheme, pictures of them, axe-core.

``ZOO_BROWSER`` names the program, ``ZOO_AXE`` axe-core's ``axe.min.js``.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

BROWSER = os.environ.get("ZOO_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("ZOO_AXE")


class Browser:
    """A browser of its own with one empty page; commands go through two pipes, so no port is opened."""

    def __init__(self, profile):
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-zygote", "--hide-scrollbars"]
        command = [BROWSER, *options, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "browser", *command]  # the pipes it expects
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(shell, pass_fds=(to_read, to_write), **silent)
        os.close(to_read)
        os.close(to_write)
        self._number, self._rest, self._session = 0, b"", None
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self._ask("Page.enable")

    def _ask(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def open(self, path, width=1200, height=900, scheme="light"):
        """Show a file in a window of some width, and wait until it is complete."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._ask("Page.navigate", url=Path(path).resolve().as_uri())
        end = time.monotonic() + 60
        while self.run("document.readyState + location.protocol") != "completefile:" and time.monotonic() < end:
            time.sleep(0.05)

    def run(self, expression):
        """The value of a JavaScript expression, of a promise once it is there."""
        options = {"returnByValue": True, "awaitPromise": True}
        found = self._ask("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def faults(self):
        """Rules of axe-core that the page breaks seriously, with the elements."""
        self.run(Path(AXE).read_text() + "; 0")
        found = self.run("axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)]))")
        return [fault for fault in found if fault[0] in ("serious", "critical")]

    def picture(self, path, whole=True):
        """Write what is seen as a PNG; the whole page, or the window."""
        shot = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                         **({"clip": self._extent()} if whole else {}))  # fmt: skip
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def _extent(self):
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def close(self):
        """End the browser."""
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._out)
        os.close(self._in)
