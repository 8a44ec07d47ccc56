#!/usr/bin/env python3
"""Rehearses a release: everything but publishing it. Needs the test bed (make testbed) and what builds the program.

    python3 packaging/rehearse.py [--dist FOLDER]

Without --dist it builds what can be built on this machine, takes a placeholder for the programs of the other platforms, and makes
the release's files in target/rehearsal/dist. With --dist (the release workflow) it takes the files that are there.

One line a step: `ok`, `FAILED` with the reason, or `not run` with what is missing. The exit code is 1 when a step failed.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

import dist

ROOT = dist.ROOT
WORK = ROOT / "target" / "rehearsal"


class NotRun(Exception):
    """What this machine lacks."""


class Failed(Exception):
    """What a release would have stumbled over."""


def run(*argv, cwd=ROOT, env=None, stdin=None):
    argv = [str(word) for word in argv]
    try:
        done = subprocess.run(
            argv, cwd=cwd, env={**os.environ, **(env or {})}, input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise NotRun(f"{argv[0]}: {error.strerror}") from None
    if done.returncode != 0:
        raise Failed(f"`{' '.join(argv[:4])} ...` ended with {done.returncode}:\n{done.stdout.strip()[-4000:]}")
    return done.stdout


def bed(name):
    try:
        part = json.loads((ROOT / "target/testbed/testbed.json").read_text())[name]
        return Path(part["path"])
    except (OSError, KeyError):
        raise NotRun(f"the test bed has no {name} (make testbed)") from None


def tool(name):
    found = shutil.which(name)
    if not found:
        raise NotRun(f"there is no {name} on this machine")
    return found


# --- Building -----------------------------------------------------------------------------------------------------------


def build_here(out):
    """This machine's program is real. The others get a placeholder, so that names, sums and manifests are whole."""
    system, arch = dist.host()
    # The release workflow has the digest of the image that it built.
    os.environ.setdefault("CAPT_SPOT_IMAGE", f"ghcr.io/appthrust/kubectl-capt-spot@sha256:{'0' * 64}")
    binaries = {(system, arch): dist.build(system)}
    note = []
    for key in dist.PLATFORMS:
        if key not in binaries:
            path = WORK / "placeholders" / "-".join(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\necho placeholder for {'/'.join(key)} >&2\nexit 1\n")
            binaries[key] = path
            note.append("/".join(key))
    words = [f"--binary={'/'.join(key)}={path}" for key, path in binaries.items()]
    run(sys.executable, ROOT / "packaging/dist.py", "--all", "--out", out, *words)
    return f"built for {system}/{arch}; placeholders for {', '.join(note)}"


def check_targets(_out):
    """The platforms that cannot be built here are compiled as far as this machine's Rust can."""
    sysroot = Path(run("rustc", "--print", "sysroot").strip())
    host = next(line.split(": ")[1] for line in run("rustc", "-vV").splitlines() if line.startswith("host: "))
    missing = []
    for target in dist.TARGETS:
        if not (sysroot / "lib/rustlib" / target / "lib").is_dir():
            missing.append(target)
        elif target != host:
            run(os.environ.get("CARGO", "cargo"), "check", "--locked", "--target", target, "--bin", dist.BINARY)
    if missing:
        raise NotRun(f"this machine's Rust has no standard library for {', '.join(missing)} (rustup target add)")
    return ""


# --- Files --------------------------------------------------------------------------------------------------------------


def expected_names(number):
    archives = [f"{dist.BINARY}_v{number}_{system}_{arch}.tar.gz" for system, arch in dist.PLATFORMS]
    return sorted([
        *archives, f"{dist.BINARY}_v{number}.cdx.json", f"{dist.PLUGIN}-{number}.tgz", f"{dist.GATE}-{number}.tgz",
        f"{dist.PLUGIN}.yaml", f"{dist.PLUGIN}.rb", f"{dist.PLUGIN}.nix",
    ])


def names_and_sums(out):
    lines = [line.split("  ") for line in (out / "checksums.txt").read_text().splitlines()]
    names = sorted(name for _, name in lines)
    if names != expected_names(dist.version()):
        raise Failed(f"checksums.txt names {names}")
    for digest, name in lines:
        if hashlib.sha256((out / name).read_bytes()).hexdigest() != digest:
            raise Failed(f"{name} has another sum")
    sums = (out / "repository" / dist.SUMS).read_text()
    for digest, name in lines:
        if name.endswith(".tar.gz") and f"{digest}  {name}\n" not in sums:
            raise Failed(f"{dist.SUMS} lacks {name}")
    return f"{len(names)} files"


def archives(out):
    for system, arch in dist.PLATFORMS:
        path = out / f"{dist.BINARY}_v{dist.version()}_{system}_{arch}.tar.gz"
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        if not all(member.isreg() for member in members):
            raise Failed(f"{path.name} holds something else than files: krew takes none")
        names = {member.name for member in members}
        wanted = {dist.exe(system), "LICENSE", "THIRD-PARTY-NOTICES.txt", f"man/{dist.BINARY}.1"}
        wanted |= {f"completions/{name}" for name in dist.COMPLETIONS.values()}
        if not wanted <= names:
            raise Failed(f"{path.name} lacks {', '.join(sorted(wanted - names))}")
    return ""


def bill_of_materials(out):
    document = json.loads((out / f"{dist.BINARY}_v{dist.version()}.cdx.json").read_text())
    main = document["metadata"]["component"]
    if (document["bomFormat"], main["name"], main["version"]) != ("CycloneDX", dist.PLUGIN, dist.version()):
        raise Failed(f"the SBOM is of {main['name']} {main['version']}")
    return f"{len(document['components'])} components"


def notes(out):
    return f"{len((out / 'notes.md').read_text().splitlines())} lines"


# --- What others say of them --------------------------------------------------------------------------------------------


def krew(out):
    run(bed("validate-krew-manifest"), "-manifest", out / f"{dist.PLUGIN}.yaml", "-skip-install")
    return ""


def image_by_digest(out):
    """The Job that `hook` prints runs the image of this very release."""
    system, arch = dist.host()
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(out / f"{dist.BINARY}_v{dist.version()}_{system}_{arch}.tar.gz") as tar:
            tar.extractall(folder, filter="data")
        said = run(Path(folder) / dist.exe(system), "hook", "--cluster-name", "demo", "--region", "eu-west-1", "-o", "json")
    if not re.search(r'"image": "ghcr\.io/appthrust/kubectl-capt-spot@sha256:[0-9a-f]{64}"', said):
        raise Failed("`hook` names its image without a digest")
    return ""


def installs(out):
    """Both helms from Git, from the archive and from a registry, krew, the README's lines, the Action and the pre-commit hooks."""
    said = run(
        os.environ.get("CARGO", "cargo"), "test", "--locked", "--test", "it", "--", "release::",
        env={"CAPT_SPOT_DIST": str(out.resolve()), "CI": "true"},
    )
    return next((line for line in said.splitlines() if line.startswith("test result:")), "")


# Homebrew's words, as far as a formula of ours uses them; it prints what each machine would download.
BREW = """
class Formula
  def self.method_missing(name, *words, **more) = nil
  def self.url(address) = (@url = address)
  def self.sha256(sum) = (puts "#{@url} #{sum}" if @url)
  %w[on_macos on_linux on_arm on_intel].each { |name| define_singleton_method(name) { |&block| block.call } }
  def self.test = nil
end
load ARGV[0]
abort "the formula installs nothing" unless CaptSpot.method_defined?(:install)
"""


def sums_of(out):
    sums = dict(reversed(line.split("  ")) for line in (out / "checksums.txt").read_text().splitlines())
    return {name: digest for name, digest in sums.items() if name.endswith(".tar.gz")}


def homebrew(out):
    said = run(tool("ruby"), "-e", BREW, out / f"{dist.PLUGIN}.rb")
    found = dict(line.rsplit(" ", 1) for line in said.splitlines())
    wanted = {
        f"{dist.RELEASES}/v{dist.version()}/{name}": digest for name, digest in sums_of(out).items() if "windows" not in name
    }
    if found != wanted:
        raise Failed(f"the formula downloads {found}, not {wanted}")
    return f"{len(found)} downloads"


def nix(out):
    import formulas

    for (system, arch), name in formulas.NIX_SYSTEMS.items():
        expression = f"""
          (import {(out / f"{dist.PLUGIN}.nix").resolve()} {{
            lib = {{ licenses.asl20 = 1; sourceTypes.binaryNativeCode = 1; }};
            stdenvNoCC = {{ mkDerivation = x: x; hostPlatform.system = "{name}"; }};
            fetchurl = x: x;
            installShellFiles = 1;
          }}).src.sha256"""
        said = run(tool("nix-instantiate"), "--eval", "--expr", expression, env={"NIX_STATE_DIR": str(WORK / "nix")})
        archive = f"{dist.BINARY}_v{dist.version()}_{system}_{arch}.tar.gz"
        if sums_of(out)[archive] not in said:
            raise Failed(f"{name}: {said}")
    return ""


def workflows(_out):
    run("make", "--no-print-directory", "lint-workflows")
    return ""


def chart(_out):
    charts = sorted((ROOT / "charts").glob("*/Chart.yaml"))
    if not charts:
        raise NotRun("there is no chart")
    for path in charts:
        for helm in ("helm3", "helm4"):
            run(bed(helm), "lint", "--strict", path.parent)
    return ""


def signatures(out):
    """With a key made for this: what Helm 4 says of a signed plugin."""
    helm = bed("helm4")
    with tempfile.TemporaryDirectory() as home:
        env = {"GNUPGHOME": home, "HOME": home}
        run(tool("gpg"), "--batch", "--passphrase", "", "--quick-generate-key", "rehearsal <rehearsal@example.com>", "rsa3072", "sign", env=env)
        for name in (dist.PLUGIN, dist.GATE):
            packed = Path(home) / f"{name}-{dist.version()}.tgz"
            shutil.copy(out / packed.name, packed)
            message = out / f"{packed.name}.prov-message"
            run("gpg", "--batch", "--clearsign", "--output", f"{packed}.prov", message, env=env)
            run("gpg", "--batch", "--yes", "--output", f"{home}/key.gpg", "--export", env=env)
            run(helm, "plugin", "verify", packed, "--keyring", f"{home}/key.gpg", env=env)
        run("gpgconf", "--kill", "all", env=env)
    return ""


# --- cargo --------------------------------------------------------------------------------------------------------------


CRATES = ("iam-policy", "eks-aws-auth", "capt-spot")


def packages(_out):
    cargo = os.environ.get("CARGO", "cargo")
    words = [word for name in CRATES for word in ("-p", name)]
    # Uncommitted changes are the person's business here; the workflow has none.
    run(cargo, "publish", "--dry-run", "--locked", "--allow-dirty", *words, env={"CARGO_TARGET_DIR": str(ROOT / "target")})
    return ""


def cargo_install(_out):
    """`cargo install capt-spot`, as the README says it, from a copy of the registry with our crates in it."""
    cargo = os.environ.get("CARGO", "cargo")
    registry = WORK / "registry"
    shutil.rmtree(registry, ignore_errors=True)
    registry.mkdir(parents=True)
    for name in CRATES:
        with tarfile.open(ROOT / f"target/package/{name}-{dist.version()}.crate") as tar:
            tar.extractall(registry, filter="data")
        digest = hashlib.sha256((ROOT / f"target/package/{name}-{dist.version()}.crate").read_bytes()).hexdigest()
        note = {"files": {}, "package": digest}
        (registry / f"{name}-{dist.version()}" / ".cargo-checksum.json").write_text(json.dumps(note))
    # The rest are links to what cargo has unpacked already.
    metadata = json.loads(run(cargo, "metadata", "--format-version=1", "--locked"))
    with open(ROOT / "Cargo.lock", "rb") as file:
        sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
    for package in metadata["packages"]:
        digest = sums[(package["name"], package["version"])]
        if not digest:
            continue
        folder = registry / f"{package['name']}-{package['version']}"
        folder.mkdir()
        for entry in Path(package["manifest_path"]).parent.iterdir():
            if not entry.name.startswith(".cargo"):
                (folder / entry.name).symlink_to(entry)
        (folder / ".cargo-checksum.json").write_text(json.dumps({"files": {}, "package": digest}))
    source = ["--config", 'source.crates-io.replace-with="rehearsal"', "--config", f'source.rehearsal.directory="{registry}"']
    root = WORK / "installed"
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("cargo install "))
    # Whether it builds was seen; without optimising it takes a fourth of the time.
    run(
        cargo, *source, *line.split()[1:], "--force", "--root", root, cwd=WORK,
        env={"CARGO_TARGET_DIR": str(WORK / "target"), "CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
             "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16", "CARGO_NET_OFFLINE": "true"},
    )
    said = run(root / "bin" / dist.BINARY, "--version").split()
    if said != [dist.PLUGIN, dist.version()]:
        raise Failed(f"it says it is {' '.join(said)}")
    return ""


# --- The image ----------------------------------------------------------------------------------------------------------


def image(_out):
    docker = tool("docker")
    if subprocess.run([docker, "info"], capture_output=True).returncode != 0:
        raise NotRun("no Docker engine answers")
    run(docker, "build", "--tag", "capt-spot-rehearsal", ROOT)
    said = run(docker, "run", "--rm", "capt-spot-rehearsal", "--version")
    return said.strip()


STEPS = [
    ("programs and files", build_here),
    ("the other platforms", check_targets),
    ("names and sums", names_and_sums),
    ("contents of the archives", archives),
    ("SBOM", bill_of_materials),
    ("section of the changelog", notes),
    ("krew's validator", krew),
    ("the image of hook", image_by_digest),
    ("installing, by every way", installs),
    ("Homebrew formula", homebrew),
    ("Nix expression", nix),
    ("workflows and Action", workflows),
    ("chart", chart),
    ("signatures", signatures),
    ("packages for cargo", packages),
    ("cargo install", cargo_install),
    ("image", image),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, metavar="FOLDER", help="the files of the release, made already")
    parser.add_argument("--only", action="append", metavar="STEP", help="a part of a step's name; may be repeated")
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    out = args.dist or WORK / "dist"
    failed = 0
    for title, step in STEPS:
        if (args.dist and step in (build_here, check_targets)) or (args.only and not any(part in title for part in args.only)):
            continue
        began = time.monotonic()
        try:
            said = step(out)
            line = f"ok       {title}" + (f": {said}" if said else "")
        except NotRun as why:
            line = f"not run  {title}: {why}"
        except (Failed, dist.Refused, OSError, KeyError, ValueError) as why:
            failed += 1
            line = f"FAILED   {title}: {why}"
        print(f"{line}  ({time.monotonic() - began:.0f} s)", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
