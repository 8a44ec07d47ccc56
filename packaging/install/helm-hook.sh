#!/bin/sh
# Helm runs this (plugin.yaml) after `helm plugin install` and `helm plugin update` from a Git repository:
#
#     helm-hook.sh install|update [OS ARCH]
#
# Helm leaves a plugin where it is when its hook fails, and every `helm plugin list` then shows what cannot run. So a failed
# installation is taken back. A failed update leaves the program that was there: Helm removes all that Git does not know before it
# runs the hook (git clean -x), so a second name of each file is kept where Git does not clean.
set -u

event=${1:?usage: helm-hook.sh install|update [OS ARCH]}
here=$(cd "$(dirname "$0")" && pwd) || exit 1
plugin=${HELM_PLUGIN_DIR:?is set by helm}

kept=$plugin/.git/capt-spot
if [ $# -eq 3 ]; then
  folder=$plugin/bin/$2-$3
  sh "$here/fetch.sh" "$folder" "$2" "$3"
else
  # Helm calls it so on a platform that plugin.yaml does not name.
  printf 'capt-spot: there is no release for this platform: build it from source (cargo install capt-spot)\n' >&2
  false
fi
code=$?
if [ "$code" -eq 0 ]; then
  if [ -d "$plugin/.git" ]; then
    rm -rf "$kept"
    { mkdir -p "$kept" && ln "$folder"/* "$kept/"; } 2>/dev/null || rm -rf "$kept"
  fi
  printf 'capt-spot: start with: helm capt-spot preflight\n' >&2
  exit 0
fi

# Made for nothing.
rmdir "$plugin/bin" 2>/dev/null
if [ "$event" = update ]; then
  if [ -d "$kept" ] && [ ! -d "${folder:=$plugin/bin}" ]; then
    mkdir -p "$folder" && ln "$kept"/* "$folder/"
  fi
  printf 'capt-spot: not updated; the program that was there still is. Try again: helm plugin update capt-spot\n' >&2
elif [ -L "$plugin" ]; then
  # `helm plugin install FOLDER`: the folder is somebody's own.
  rm -f "$plugin"
  printf 'capt-spot: the plugin was not installed\n' >&2
elif grep -q '^name: capt-spot$' "$plugin/plugin.yaml" 2>/dev/null; then
  rm -rf "$plugin"
  printf 'capt-spot: the plugin was not installed\n' >&2
fi
exit "$code"
