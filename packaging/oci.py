#!/usr/bin/env python3
"""Puts the packed Helm plugin into an OCI registry, as Helm 4 installs it from there. Needs nothing but Python.

    oci.py REGISTRY/REPOSITORY:TAG ARCHIVE.tgz [PROVENANCE]

The repository's last part is the plugin's name. Credentials, when the registry wants them: OCI_USER and OCI_PASSWORD.
A registry on 127.0.0.1 is asked by http.
"""

import base64
import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

# What Helm 4 asks for (its pkg/registry/plugin.go).
ARTIFACT = "application/vnd.helm.plugin.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = b"{}"
TIMEOUT = 60


class Registry:
    def __init__(self, host, repository):
        scheme = "http" if host.startswith("127.0.0.1:") else "https"
        self.base = f"{scheme}://{host}/v2/{repository}"
        self.token = None

    def ask(self, method, url, data=None, kind=None, again=True):
        request = urllib.request.Request(url, data=data, method=method)
        if kind:
            request.add_header("Content-Type", kind)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return answer.headers
        except urllib.error.HTTPError as error:
            challenge = error.headers.get("WWW-Authenticate", "")
            if error.code == 401 and again and challenge.startswith("Bearer "):
                self.log_in(dict(re.findall(r'(\w+)="([^"]*)"', challenge)))
                return self.ask(method, url, data, kind, again=False)
            raise

    def log_in(self, challenge):
        scope = f"repository:{self.base.partition('/v2/')[2]}:pull,push"
        query = urllib.parse.urlencode({"service": challenge.get("service", ""), "scope": scope})
        request = urllib.request.Request(f"{challenge['realm']}?{query}")
        if os.environ.get("OCI_USER"):
            both = f"{os.environ['OCI_USER']}:{os.environ['OCI_PASSWORD']}"
            request.add_header("Authorization", "Basic " + base64.b64encode(both.encode()).decode())
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            said = json.load(answer)
        self.token = said.get("token") or said["access_token"]

    def blob(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        try:
            self.ask("HEAD", f"{self.base}/blobs/{digest}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            place = self.ask("POST", f"{self.base}/blobs/uploads/", data=b"")["Location"]
            place = urllib.parse.urljoin(self.base, place)
            separator = "&" if "?" in place else "?"
            self.ask("PUT", f"{place}{separator}digest={urllib.parse.quote(digest)}", data, "application/octet-stream")
        return digest


def push(reference, archive, provenance):
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    if not (host and repository and tag):
        sys.exit(f"oci.py: {reference} is not REGISTRY/REPOSITORY:TAG")
    registry = Registry(host, repository)
    layers = []
    for path in [archive, *provenance]:
        data = path.read_bytes()
        title = {"org.opencontainers.image.title": path.name}
        layers.append({"mediaType": LAYER, "digest": registry.blob(data), "size": len(data), "annotations": title})
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": ARTIFACT,
        "config": {"mediaType": ARTIFACT, "digest": registry.blob(EMPTY), "size": len(EMPTY)},
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.source": "https://github.com/appthrust/kubectl-capt-spot",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.version": tag,
        },
    }
    data = json.dumps(manifest, sort_keys=True).encode()
    registry.ask("PUT", f"{registry.base}/manifests/{tag}", data, manifest["mediaType"])
    print(f"{host}/{repository}:{tag}@sha256:{hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    push(sys.argv[1], Path(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
