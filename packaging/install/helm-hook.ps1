# What helm-hook.sh and fetch.sh do, for Windows: both explain it. Windows PowerShell 5.1 is enough.
#
#     helm-hook.ps1 install|update OS ARCH
param (
    [Parameter(Mandatory = $true)] [ValidateSet("install", "update")] [string] $Hook,
    [Parameter(Mandatory = $true)] [string] $Os,
    [Parameter(Mandatory = $true)] [string] $Arch
)
$ErrorActionPreference = "Stop"
$ProgressPreference = "SilentlyContinue"
$releases = "https://github.com/appthrust/kubectl-capt-spot/releases"
$plugin = $env:HELM_PLUGIN_DIR
$folder = Join-Path (Join-Path $plugin "bin") "$Os-$Arch"
# Where Git does not clean: helm-hook.sh says why.
$kept = Join-Path (Join-Path $plugin ".git") "capt-spot"
$work = Join-Path ([System.IO.Path]::GetTempPath()) ("capt-spot-" + [guid]::NewGuid().ToString("N"))

function Say([string] $text) {
    [Console]::Error.WriteLine("capt-spot: $text")
}

function Fetch {
    $sums = Get-Content -LiteralPath (Join-Path $PSScriptRoot "checksums.txt")
    $pattern = "^([0-9a-f]{64})  (kubectl-capt_spot_v([0-9A-Za-z.+-]+)_${Os}_${Arch}\.tar\.gz)$"
    $line = @($sums | Where-Object { $_ -cmatch $pattern })
    if ($line.Count -ne 1) {
        throw "checksums.txt names no archive for $Os/$Arch; take the tag of a release: helm plugin install ... --version vX.Y.Z"
    }
    [void] ($line[0] -cmatch $pattern)
    $expected, $name, $version = $Matches[1], $Matches[2], $Matches[3]

    [void] (New-Item -ItemType Directory -Path $work)
    $archive = Join-Path $work $name
    if ($env:CAPT_SPOT_ARCHIVE) {
        $source = $env:CAPT_SPOT_ARCHIVE
        Copy-Item -LiteralPath $source -Destination $archive
    } else {
        $mirror = if ($env:CAPT_SPOT_MIRROR) { $env:CAPT_SPOT_MIRROR.TrimEnd("/") } else { "$releases/download" }
        $url = "$mirror/v$version/$name"
        $source = $url -replace "//[^/@]*@", "//"
        [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
        $more = @{}
        # Windows PowerShell takes the system's proxy, but does not know this variable.
        if ($env:HTTPS_PROXY) { $more["Proxy"] = $env:HTTPS_PROXY }
        try {
            Invoke-WebRequest -UseBasicParsing -Uri $url -OutFile $archive -TimeoutSec 900 @more
        } catch {
            throw "$source could not be downloaded: $($_.Exception.Message)`n  fix: behind a proxy set HTTPS_PROXY, for a mirror CAPT_SPOT_MIRROR; offline, download the file elsewhere`n       and set CAPT_SPOT_ARCHIVE to it; then try again"
        }
    }

    $found = (Get-FileHash -Algorithm SHA256 -LiteralPath $archive).Hash.ToLowerInvariant()
    if ($found -cne $expected) {
        throw "$source is not the archive of version ${version}: nothing of it was used`n  sha256 expected $expected`n  sha256 found    $found`n  fix: try again; a proxy or a mirror may answer with something else"
    }

    $unpacked = Join-Path $work "unpacked"
    [void] (New-Item -ItemType Directory -Path $unpacked)
    # Windows' own, not one of Git's that reads C: as the name of a host.
    $tar = Join-Path $env:SystemRoot "System32\tar.exe"
    & $tar -xzf $archive -C $unpacked
    if ($LASTEXITCODE -ne 0) { throw "$name could not be unpacked" }
    [void] (New-Item -ItemType Directory -Force -Path $folder)
    foreach ($file in "LICENSE", "THIRD-PARTY-NOTICES.txt", "kubectl-capt_spot.exe") {
        Move-Item -Force -LiteralPath (Join-Path $unpacked $file) -Destination (Join-Path $folder $file)
    }
    if (Test-Path -LiteralPath (Join-Path $plugin ".git")) {
        if (Test-Path -LiteralPath $kept) { Remove-Item -Recurse -Force -LiteralPath $kept }
        Copy-Item -Recurse -LiteralPath $folder -Destination $kept
    }
    Say "version $version for $Os/$Arch, sha256 verified"
    Say "start with: helm capt-spot preflight"
}

$code = 0
try {
    Fetch
} catch {
    $code = 1
    Say $_.Exception.Message
    if ($Hook -eq "update") {
        if ((Test-Path -LiteralPath $kept) -and -not (Test-Path -LiteralPath $folder)) {
            [void] (New-Item -ItemType Directory -Force -Path (Split-Path $folder))
            Copy-Item -Recurse -LiteralPath $kept -Destination $folder
        }
        Say "not updated; the program that was there still is. Try again: helm plugin update capt-spot"
    } else {
        $item = Get-Item -LiteralPath $plugin
        $ours = Select-String -Quiet -CaseSensitive -LiteralPath (Join-Path $plugin "plugin.yaml") -Pattern "^name: capt-spot$"
        if ($item.LinkType) {
            # `helm plugin install FOLDER`: the folder is somebody's own, and only the link goes.
            $item.Delete()
            Say "the plugin was not installed"
        } elseif ($ours) {
            Remove-Item -Recurse -Force -LiteralPath $plugin
            Say "the plugin was not installed"
        }
    }
} finally {
    if (Test-Path -LiteralPath $work) { Remove-Item -Recurse -Force -LiteralPath $work }
}
exit $code
