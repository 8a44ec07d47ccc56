"""What Homebrew and Nix install from: the release's archives by their sums, nothing is built."""

from dataclasses import dataclass

HOMEPAGE = "https://github.com/appthrust/kubectl-capt-spot"
SHORT = "Will Karpenter get EC2 Spot capacity on this EKS cluster?"


@dataclass(frozen=True)
class Archive:
    url: str
    sha256: str


def homebrew(version, archives):
    """The formula; `archives`: (os, arch) -> Archive. Windows has no Homebrew."""
    blocks = []
    for system, block in (("darwin", "on_macos"), ("linux", "on_linux")):
        inner = []
        for arch, word in (("arm64", "on_arm"), ("amd64", "on_intel")):
            archive = archives.get((system, arch))
            if archive:
                inner.append(f'    {word} do\n      url "{archive.url}"\n      sha256 "{archive.sha256}"\n    end\n')
        if inner:
            blocks.append(f"  {block} do\n{''.join(inner)}  end\n")
    return f"""\
# Written by the release (packaging/formulas.py).
class CaptSpot < Formula
  desc "{SHORT}"
  homepage "{HOMEPAGE}"
  version "{version}"
  license "Apache-2.0"

{chr(10).join(blocks)}
  def install
    bin.install "kubectl-capt_spot", "kubectl_complete-capt_spot"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/kubectl-capt_spot.bash" => "kubectl-capt_spot"
    zsh_completion.install "completions/_kubectl-capt_spot"
    fish_completion.install "completions/kubectl-capt_spot.fish"
    prefix.install "THIRD-PARTY-NOTICES.txt"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/kubectl-capt_spot --version")
  end
end
"""


NIX_SYSTEMS = {
    ("linux", "amd64"): "x86_64-linux",
    ("linux", "arm64"): "aarch64-linux",
    ("darwin", "amd64"): "x86_64-darwin",
    ("darwin", "arm64"): "aarch64-darwin",
}


def nix(version, archives):
    """A package expression for callPackage."""
    sources = "".join(
        f'    {name} = {{\n      url = "{archives[key].url}";\n      sha256 = "{archives[key].sha256}";\n    }};\n'
        for key, name in NIX_SYSTEMS.items()
        if key in archives
    )
    return f"""\
# Written by the release (packaging/formulas.py).
{{ lib, stdenvNoCC, fetchurl, installShellFiles }}:
let
  sources = {{
{sources}  }};
  system = stdenvNoCC.hostPlatform.system;
in
stdenvNoCC.mkDerivation {{
  pname = "kubectl-capt-spot";
  version = "{version}";
  src = fetchurl (sources.${{system}} or (throw "kubectl-capt-spot: no release for ${{system}}"));
  sourceRoot = ".";
  nativeBuildInputs = [ installShellFiles ];
  installPhase = ''
    runHook preInstall
    install -Dm755 -t $out/bin kubectl-capt_spot kubectl_complete-capt_spot
    install -Dm644 -t $out/share/doc/kubectl-capt-spot LICENSE THIRD-PARTY-NOTICES.txt
    installManPage man/*.1
    installShellCompletion completions/kubectl-capt_spot.bash completions/_kubectl-capt_spot completions/kubectl-capt_spot.fish
    runHook postInstall
  '';
  meta = {{
    description = "{SHORT}";
    homepage = "{HOMEPAGE}";
    license = lib.licenses.asl20;
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    mainProgram = "kubectl-capt_spot";
    platforms = builtins.attrNames sources;
  }};
}}
"""
