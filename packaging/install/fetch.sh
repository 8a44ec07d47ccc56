#!/bin/sh
# Puts the program of a release into a folder, if it is the one whose sum stands in checksums.txt beside this script.
#
#     fetch.sh FOLDER [OS ARCH]
#
# The Helm plugin's hook, the GitHub Action and the pre-commit hooks install with it. What it heeds in the environment:
#
#     CAPT_SPOT_ARCHIVE=FILE   the release's archive, already here: nothing is downloaded
#     CAPT_SPOT_MIRROR=URL     where to download from instead: URL/vVERSION/ARCHIVE
#     HTTPS_PROXY, NO_PROXY, CURL_CA_BUNDLE and whatever else curl (or wget) heeds
#
# FOLDER is as it was when this fails, and nothing is left elsewhere.
set -eu

RELEASES=https://github.com/appthrust/kubectl-capt-spot/releases
# Bytes. An archive has a tenth of it.
LARGEST=134217728

work=
clean_up() {
  [ -z "$work" ] || rm -rf "$work"
  # Made for nothing.
  rmdir "$folder" 2>/dev/null || :
}
trap 'exit 130' INT
trap 'exit 143' HUP TERM

refuse() {
  printf 'capt-spot: %s\n' "$@" >&2
  exit 1
}

folder=${1:?usage: fetch.sh FOLDER [OS ARCH]}
trap clean_up EXIT
os=${2:-}
arch=${3:-}
if [ -z "$os" ]; then
  case $(uname -s) in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    MINGW* | MSYS* | CYGWIN* | Windows_NT) os=windows ;;
    *) refuse "there is no release for $(uname -s): build it from source (cargo install capt-spot)" ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) refuse "there is no release for $(uname -m): build it from source (cargo install capt-spot)" ;;
  esac
fi
program=kubectl-capt_spot
[ "$os" != windows ] || program=$program.exe

# SUM  ARCHIVE, where the archive's name has the version.
sums=$(dirname "$0")/checksums.txt
line=$(grep -E "^[0-9a-f]{64}  kubectl-capt_spot_v[0-9A-Za-z.+-]+_${os}_${arch}\.tar\.gz\$" "$sums" 2>/dev/null) || line=
[ -n "$line" ] || refuse \
  "checksums.txt names no archive for $os/$arch: this is not the commit of a release" \
  "fix: take the tag of a release, for instance: helm plugin install ... --version vX.Y.Z"
expected=${line%% *}
name=${line##* }
version=${name#kubectl-capt_spot_v}
version=${version%"_${os}_${arch}.tar.gz"}

# What goes there is made beside it, so that moving it is one step.
mkdir -p "$folder" || refuse "cannot write to $folder"
work=$(mktemp -d "$folder/.download.XXXXXX") || refuse "cannot write to $folder"
archive=$work/$name

# Addresses may hold a password.
without_password() { printf '%s' "$1" | sed 's#//[^/@]*@#//#'; }

download() {
  # What came by https is not followed to http.
  case $1 in
    https:*) schemes='=https' ;;
    *) schemes='=http,https' ;;
  esac
  if command -v curl >/dev/null 2>&1; then
    curl --fail --silent --show-error --location --proto "$schemes" --proto-redir "$schemes" --connect-timeout 30 \
      --max-time 900 --retry 2 --max-filesize "$LARGEST" --output "$archive" "$1"
  elif command -v wget >/dev/null 2>&1; then
    wget -q -T 60 -O "$archive" "$1"
  else
    printf 'capt-spot: neither curl nor wget is installed\n' >&2
    return 1
  fi
}

if [ -n "${CAPT_SPOT_ARCHIVE:-}" ]; then
  source=$CAPT_SPOT_ARCHIVE
  cp "$source" "$archive" || refuse "CAPT_SPOT_ARCHIVE: $source cannot be read" "fix: download $name elsewhere and name it there"
else
  mirror=${CAPT_SPOT_MIRROR:-"$RELEASES/download"}
  url=${mirror%/}/v$version/$name
  source=$(without_password "$url")
  download "$url" || refuse \
    "$source could not be downloaded" \
    "fix: behind a proxy set HTTPS_PROXY, for a mirror CAPT_SPOT_MIRROR; offline, download the file elsewhere" \
    "     (also from $RELEASES) and set CAPT_SPOT_ARCHIVE to it; then try again"
fi

sum_of() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum "$1"
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 "$1"
  else
    # SHA2-256(FILE)= SUM
    openssl dgst -sha256 "$1" | sed 's/^.*= *//'
  fi
}
found=$(sum_of "$archive" | sed 's/^\\//; s/ .*//') || found=
[ "$found" = "$expected" ] || refuse \
  "$source is not the archive of version $version: nothing of it was used" \
  "  sha256 expected $expected" \
  "  sha256 found    ${found:-nothing: sha256sum, shasum and openssl are all missing}" \
  "fix: try again; a proxy or a mirror may answer with something else. If it stays, please report it:" \
  "     https://github.com/appthrust/kubectl-capt-spot/security"

mkdir "$work/unpacked"
tar -xzf "$archive" -C "$work/unpacked" || refuse "$name could not be unpacked (tar -xzf)"
chmod 755 "$work/unpacked/$program" || refuse "$name holds no $program"
for file in LICENSE THIRD-PARTY-NOTICES.txt "$program"; do
  mv -f "$work/unpacked/$file" "$folder/$file" || refuse "cannot write to $folder"
done
printf 'capt-spot: version %s for %s/%s, sha256 verified\n' "$version" "$os" "$arch" >&2
