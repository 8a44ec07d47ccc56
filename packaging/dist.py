#!/usr/bin/env python3
"""Makes the release's files out of built binaries. Needs nothing but Python 3.11, cargo (for the SBOM) and git.

    python3 packaging/dist.py [--binary OS/ARCH=PATH]... [--all] [--out FOLDER]

Without --binary it builds the one for the machine it runs on; --all refuses when a platform is missing. The same input gives
the same bytes: names are sorted, owners are root, and the only time is SOURCE_DATE_EPOCH (or the last commit's).

OUT/repository is what the release commits on top of the source that it was built from: the sums that the Helm plugin, the
Action and the pre-commit hooks install by, the krew index, the Homebrew formula and the Nix expression. The tag is put on
that commit (docs/releasing.md), for a commit cannot hold the sums of what is built from itself.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import string
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import uuid
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

import formulas
from notices import notices

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "capt-spot"
GATE = "capt-spot-gate"
BINARY = "kubectl-capt_spot"
PLATFORMS = [(system, arch) for system in ("linux", "darwin", "windows") for arch in ("amd64", "arm64")]
# What they are built for. What no such build links is in no SBOM and no notice.
TARGETS = (
    "x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "x86_64-apple-darwin", "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc",
)
# By which the Helm plugin and the others install, in the release's commit.
SUMS = "packaging/install/checksums.txt"
RELEASES = "https://github.com/appthrust/kubectl-capt-spot/releases/download"


class Refused(Exception):
    """Something that must not be released."""


def host():
    system = platform.system().lower()
    arch = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    if (system, arch) not in PLATFORMS:
        raise Refused(f"this machine ({system}, {platform.machine()}) is none that is released for: use --binary")
    return system, arch


def exe(system):
    return BINARY + (".exe" if system == "windows" else "")


def cargo(*words, env=None):
    run = subprocess.run(
        [os.environ.get("CARGO", "cargo"), *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    if run.returncode != 0:
        # cargo has said why.
        raise Refused(f"cargo {words[0]} failed")
    return run.stdout


def build(system):
    cargo("build", "--release", "--locked", "--bin", BINARY, env=build_information())
    metadata = json.loads(cargo("metadata", "--format-version=1", "--locked", "--no-deps"))
    return Path(metadata["target_directory"]) / "release" / exe(system)


def build_information():
    """What `version` says beside the number."""
    made = datetime.fromtimestamp(epoch(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    information = {"CAPT_SPOT_BUILD_DATE": made}
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if commit.returncode == 0:
        information["CAPT_SPOT_COMMIT"] = commit.stdout.strip()
    return information


def version():
    with open(ROOT / "Cargo.toml", "rb") as file:
        return tomllib.load(file)["workspace"]["package"]["version"]


def epoch():
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        log = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
        given = log.stdout.strip() if log.returncode == 0 else ""
    try:
        return int(given or 0)
    except ValueError:
        raise Refused(f"SOURCE_DATE_EPOCH is not a number of seconds: {given!r}") from None


# How hard gzip tries; tests have no time.
LEVEL = int(os.environ.get("CAPT_SPOT_GZIP_LEVEL", "9"))


def archive(target, files, mtime, folders=False):
    """Writes a .tar.gz of (name, bytes, executable) and nothing that differs from run to run.

    Helm 3 makes no folder that has no entry; krew takes regular files only.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        parents = {str(parent) for name, _, _ in files for parent in PurePosixPath(name).parents}
        for name in sorted(parents - {"."}) if folders else []:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o755
            entry.mtime = mtime
            entry.uname = entry.gname = "root"
            tar.addfile(entry)
        for name, data, executable in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if executable else 0o644
            entry.mtime = mtime
            entry.uname = entry.gname = "root"
            tar.addfile(entry, io.BytesIO(data))
    with open(target, "wb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed:
        packed.write(buffer.getvalue())


def unpack_to(folder, files):
    for name, data, executable in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if executable else 0o644)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text_file(name, executable=False):
    return (Path(name).name, (ROOT / name).read_bytes(), executable)


def plugin_yaml(path, number):
    """A plugin.yaml whose version is the crate's. Both Helm majors want it without a leading v."""
    text = (ROOT / path).read_text()
    found = re.findall(r"^version: (\S+)$", text, re.MULTILINE)
    if found != [number]:
        raise Refused(f"{path} says version {', '.join(found) or 'nothing'}, Cargo.toml says {number}")
    return text


def binaries_below(binaries):
    return [(f"bin/{system}-{arch}/{exe(system)}", data, True) for (system, arch), data in binaries.items()]


def without_hooks(text):
    """plugin.yaml of a plugin that has its programs in it: there is nothing to fetch."""
    head, mark, _ = text.partition("platformHooks:\n")
    if not mark:
        raise Refused("plugin.yaml has no platformHooks at its end")
    return head


def helm_plugin(out, binaries, notice, number, mtime):
    """The folder, installable as it is, and one .tgz for both majors.

    Helm 4 takes the folder NAME/ out of a local .tgz; Helm 3 (over http) wants plugin.yaml at the top. So the archive
    holds the folder, and at its top a second plugin.yaml whose commands point into it.
    """
    text = without_hooks(plugin_yaml("plugin.yaml", number))
    complete = text_file("plugin.complete", True)
    files = [("plugin.yaml", text.encode(), False), text_file("LICENSE"), notice, complete, *binaries_below(binaries)]
    folder = out / "helm-plugin" / PLUGIN
    unpack_to(folder, files)
    top = text.replace("$HELM_PLUGIN_DIR/bin/", f"$HELM_PLUGIN_DIR/{PLUGIN}/bin/")
    if top.count(f"/{PLUGIN}/bin/") != len(PLATFORMS):
        raise Refused("plugin.yaml does not name one command for each platform")
    packed = [(f"{PLUGIN}/{name}", data, executable) for name, data, executable in files]
    packed += [("plugin.yaml", top.encode(), False), complete]
    target = out / f"{PLUGIN}-{number}.tgz"
    archive(target, packed, mtime, folders=True)
    return target, text


def gate_plugin(out, binaries, notice, number, mtime):
    """The post-renderer for Helm 4, a plugin of its own."""
    text = plugin_yaml(f"helm-postrenderer/{GATE}/plugin.yaml", number)
    files = [("plugin.yaml", text.encode(), False), text_file("LICENSE"), notice, *binaries_below(binaries)]
    unpack_to(out / "helm-postrenderer" / GATE, files)
    target = out / f"{GATE}-{number}.tgz"
    archive(target, [(f"{GATE}/{name}", data, executable) for name, data, executable in files], mtime, folders=True)
    return target, text


def provenance_message(target, metadata):
    """What is signed into TARGET.prov (helm's pkg/provenance): the metadata, then the archive's sum.

    gpg --clearsign --output NAME.tgz.prov NAME.tgz.prov-message
    """
    lines = [line for line in metadata.splitlines() if not line.startswith("#")]
    message = "\n".join(lines).strip() + f"\n\n...\nfiles:\n  {target.name}: sha256:{sha256(target)}\n"
    target.with_name(target.name + ".prov-message").write_text(message)


COMPLETIONS = {
    "bash": f"{BINARY}.bash", "zsh": f"_{BINARY}", "fish": f"{BINARY}.fish", "powershell": f"_{BINARY}.ps1",
}


def written_by_the_program(binaries):
    """Manual pages and completions, by the binary for this machine; none when it was not built."""
    try:
        data = binaries.get(host())
    except Refused:
        data = None
    if data is None:
        sys.stderr.write("dist: no manual pages and completions: there is no binary for this machine to write them\n")
        return []

    def run(*words):
        done = subprocess.run([program, *words], stdout=subprocess.PIPE)
        if done.returncode != 0:
            raise Refused(f"{BINARY} {words[0]} failed")
        return done.stdout

    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / exe(host()[0])
        program.write_bytes(data)
        program.chmod(0o755)
        said = run("--version").decode().split()
        if said[:2] != [PLUGIN, version()]:
            raise Refused(f"the binary says it is {' '.join(said)}, Cargo.toml says {version()}")
        pages = Path(folder) / "man"
        run("man", pages)
        made = [(f"man/{page.name}", page.read_bytes(), False) for page in sorted(pages.iterdir())]
        return made + [(f"completions/{name}", run("completion", shell), False) for shell, name in COMPLETIONS.items()]


def archives_of(out, binaries, notice, number, mtime):
    made = {}
    written = written_by_the_program(binaries)
    for (system, arch), data in binaries.items():
        target = out / f"{BINARY}_v{number}_{system}_{arch}.tar.gz"
        files = [(exe(system), data, True), text_file("LICENSE"), notice, *written]
        if system != "windows":
            files.append(text_file("kubectl_complete-capt_spot", True))
        archive(target, files, mtime)
        made[(system, arch)] = target
    return made


def krew_manifest(out, archives, number):
    """The template with version and sums; platforms that were not built are left out."""
    template = (ROOT / "krew-manifest.yaml").read_text()
    head, _, rest = template.partition("  platforms:\n")
    head = "".join(line for line in head.splitlines(keepends=True) if not line.startswith("#"))
    blocks = [f"    - selector:{block}" for block in rest.split("    - selector:")[1:]]
    if len(blocks) != len(PLATFORMS):
        raise Refused(f"krew-manifest.yaml has {len(blocks)} platforms, {len(PLATFORMS)} are released")
    values = {"VERSION": number}
    kept = []
    for (system, arch), block in zip(PLATFORMS, blocks):
        if f"os: {system}\n" not in block or f"arch: {arch}\n" not in block:
            raise Refused(f"krew-manifest.yaml: expected {system}/{arch} at this place:\n{block}")
        if (system, arch) in archives:
            values[f"SHA256_{system}_{arch}"] = sha256(archives[(system, arch)])
            kept.append(block)
    target = out / f"{PLUGIN}.yaml"
    target.write_text(string.Template(head + "  platforms:\n" + "".join(kept)).substitute(values))
    return target


def shipped_packages(metadata):
    """The packages that end up in the binary or run to build it, without what only the tests use."""
    root = next(package["id"] for package in metadata["packages"] if package["name"] == PLUGIN)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    edges, waiting = {}, [root]
    while waiting:
        current = waiting.pop()
        if current in edges:
            continue
        edges[current] = sorted(
            dependency["pkg"]
            for dependency in nodes[current]["deps"]
            if any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"])
        )
        waiting.extend(edges[current])
    return root, edges


def shipped():
    """The main package's id, the edges below it, and the packages by id, over all targets."""
    filters = [word for target in TARGETS for word in ("--filter-platform", target)]
    metadata = json.loads(cargo("metadata", "--format-version=1", "--locked", *filters))
    root, edges = shipped_packages(metadata)
    return root, edges, {package["id"]: package for package in metadata["packages"] if package["id"] in edges}


def notices_file(root, packages):
    try:
        text = notices([package for ident, package in packages.items() if ident != root and package["source"]])
    except ValueError as error:
        raise Refused(str(error)) from None
    return ("THIRD-PARTY-NOTICES.txt", text.encode(), False)


def repository_files(out, archives, manifest, formula, expression):
    """What goes into the release's commit, by its place in the repository."""
    folder = out / "repository"
    head = [line for line in (ROOT / SUMS).read_text().splitlines(keepends=True) if line.startswith("#")]
    lines = sorted(f"{sha256(path)}  {path.name}\n" for path in archives.values())
    for name, text in {
        SUMS: "".join(head + lines),
        f"plugins/{PLUGIN}.yaml": manifest.read_text(),
        f"Formula/{PLUGIN}.rb": formula.read_text(),
        f"packaging/{PLUGIN}.nix": expression.read_text(),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def changelog_section(number):
    """What the release says of itself."""
    text = (ROOT / "CHANGELOG.md").read_text()
    found = re.search(rf"^## {re.escape(number)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise Refused(f"CHANGELOG.md has no section '## {number} - YEAR-MONTH-DAY' with something in it")
    return found[1].strip() + "\n"


def written(path, text):
    path.write_text(text)
    return path


def sbom(target, what, mtime):
    """CycloneDX 1.5, from cargo's own resolution and Cargo.lock's sums."""
    root, edges, packages = what
    with open(ROOT / "Cargo.lock", "rb") as file:
        sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}

    def purl(ident):
        return f"pkg:cargo/{packages[ident]['name']}@{packages[ident]['version']}"

    def component(ident):
        package = packages[ident]
        entry = {
            "type": "library", "bom-ref": purl(ident), "name": package["name"], "version": package["version"],
            "purl": purl(ident),
        }
        if package.get("license"):
            # Cargo's old way to write OR.
            entry["licenses"] = [{"expression": " OR ".join(part.strip() for part in package["license"].split("/"))}]
        if sums.get((package["name"], package["version"])):
            digest = sums[(package["name"], package["version"])]
            entry["hashes"] = [{"alg": "SHA-256", "content": digest}]
        if package.get("repository"):
            entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        return entry

    main = {**component(root), "type": "application"}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(mtime, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": main,
        },
        "components": [component(ident) for ident in sorted(edges, key=purl) if ident != root],
        "dependencies": [
            {"ref": purl(ident), "dependsOn": sorted({purl(other) for other in edges[ident]})}
            for ident in sorted(edges, key=purl)
        ],
    }
    # A name for these contents, not for this run.
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    return written(target, json.dumps(document, indent=2) + "\n")


def parse_binaries(given, all_of_them):
    binaries = {}
    for item in given or []:
        where, _, path = item.partition("=")
        key = tuple(where.split("/"))
        if key not in PLATFORMS or not path:
            raise Refused(f"--binary {item}: write OS/ARCH=PATH, with one of {', '.join('/'.join(p) for p in PLATFORMS)}")
        binaries[key] = Path(path)
    if not binaries:
        system, arch = host()
        binaries[(system, arch)] = build(system)
    read = {}
    for key in PLATFORMS:
        if key in binaries:
            if not binaries[key].is_file():
                raise Refused(f"{binaries[key]} is not there")
            read[key] = binaries[key].read_bytes()
    missing = [key for key in PLATFORMS if key not in read]
    if all_of_them and missing:
        raise Refused(f"no binary for {', '.join('/'.join(key) for key in missing)}")
    return read


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", action="append", metavar="OS/ARCH=PATH", help="a built binary; may be repeated")
    parser.add_argument("--sbom", type=Path, metavar="FILE", help="write nothing but the SBOM")
    parser.add_argument("--all", action="store_true", help="refuse when a platform is missing")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "dist", metavar="FOLDER")
    args = parser.parse_args()
    out = args.out
    try:
        if args.sbom:
            sbom(args.sbom, shipped(), epoch())
            return
        binaries = parse_binaries(args.binary, args.all)
        number, mtime = version(), epoch()
        if out.exists():
            # Only what an earlier run made.
            if any(out.iterdir()) and not (out / "checksums.txt").is_file():
                raise Refused(f"{out} holds something that is not ours; empty it or give another --out")
            shutil.rmtree(out)
        out.mkdir(parents=True)
        # From here on it is known to be ours, even if this run fails.
        (out / "checksums.txt").touch()
        notes = changelog_section(number)
        what = shipped()
        notice = notices_file(what[0], what[2])
        archives = archives_of(out, binaries, notice, number, mtime)
        plugin, plugin_text = helm_plugin(out, binaries, notice, number, mtime)
        gate, gate_text = gate_plugin(out, binaries, notice, number, mtime)
        manifest = krew_manifest(out, archives, number)
        sources = {
            key: formulas.Archive(f"{RELEASES}/v{number}/{path.name}", sha256(path)) for key, path in archives.items()
        }
        formula = written(out / f"{PLUGIN}.rb", formulas.homebrew(number, sources))
        expression = written(out / f"{PLUGIN}.nix", formulas.nix(number, sources))
        bill = sbom(out / f"{BINARY}_v{number}.cdx.json", what, mtime)
        files = [*archives.values(), plugin, gate, manifest, formula, expression, bill]
        repository_files(out, archives, manifest, formula, expression)
        written(out / "notes.md", notes)
        checksums = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(files))
        (out / "checksums.txt").write_text(checksums)
        provenance_message(plugin, plugin_text)
        provenance_message(gate, gate_text)
    except Refused as refused:
        sys.exit(f"dist: {refused}")
    sys.stdout.write(checksums)


if __name__ == "__main__":
    main()
