"""Headless Chromium for a test: `browser.py CHROMIUM CHROMEDRIVER`.

Commands are lines of JSON on stdin, each answered by one line on stdout, {"ok": VALUE} or {"error": WHY}:

    ["open", URL]                ["click", SELECTOR]           ["type", SELECTOR, TEXT]
    ["script", JAVASCRIPT]       ["dark", true]                ["screenshot", FILE]
    ["clipboard"]                what was copied
    ["messages"]                 what the page logged: errors of scripts, refusals of its Content-Security-Policy

A click is a real one, at the element's place, and fails when something else is there. Ends with stdin.
"""

import base64
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def main() -> None:
    chromium, chromedriver = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as profile:
        driver = subprocess.Popen(
            [chromedriver, "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            for line in driver.stdout:
                if "started successfully on port" in line:
                    port = line.split(" port ")[1].strip().rstrip(".")
                    break
            else:
                sys.exit("chromedriver did not start")
            serve(Session(f"http://127.0.0.1:{port}", chromium, profile))
        finally:
            driver.terminate()
            driver.wait()


def serve(session: "Session") -> None:
    try:
        print(json.dumps({"ok": None}), flush=True)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            try:
                answer = {"ok": getattr(session, name)(*arguments)}
            except (OSError, ValueError, KeyError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    finally:
        session.call("DELETE", "", None)


class Session:
    def __init__(self, driver: str, chromium: str, profile: str) -> None:
        self.base = driver
        # Its sandbox refuses root, and users where namespaces are restricted; the page is this project's own.
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"]
        arguments.append(f"--user-data-dir={profile}")
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base = f"{driver}/session/{made['sessionId']}"

    def call(self, method: str, path: str, body):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method, headers={"content-type": "application/json"})
        # Loopback, whatever proxy the machine has.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["value"]["message"].split("\n")[0]) from error

    def element(self, selector: str) -> str:
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def open(self, url: str):
        return self.call("POST", "/url", {"url": url})

    def click(self, selector: str):
        return self.call("POST", f"/element/{self.element(selector)}/click", {})

    def type(self, selector: str, text: str):
        element = self.element(selector)
        self.call("POST", f"/element/{element}/clear", {})
        return self.call("POST", f"/element/{element}/value", {"text": text})

    def script(self, script: str):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def cdp(self, command: str, parameters: dict):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def dark(self, dark: bool):
        value = "dark" if dark else "light"
        return self.cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": value}]})

    def clipboard(self):
        self.script("document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))")
        self.type("#paste", "\ue009v")  # Ctrl+V
        return self.script("const area = document.querySelector('#paste'); area.remove(); return area.value")

    def messages(self):
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: str):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("GET", "/screenshot", None)))


if __name__ == "__main__":
    main()
