#!/bin/sh
# The hooks of .pre-commit-hooks.yaml:
#
#     pre-commit.sh template-check FILE...
#     pre-commit.sh whois ARN... FILE...
#     pre-commit.sh access-diff FILE...
#
# Everything is offline but for fetching the program once; CAPT_SPOT_BINARY names one that is here already.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
what=${1:?usage: pre-commit.sh template-check|whois|access-diff [ARN]... FILE...}
shift

program=${CAPT_SPOT_BINARY:-}
if [ -z "$program" ]; then
  # A folder for each set of sums, so that another version is another program.
  set_of_sums=$(cksum < "$here/checksums.txt" | tr ' ' -)
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/capt-spot/$set_of_sums
  program=$folder/kubectl-capt_spot
  [ -x "$program" ] || [ -x "$program.exe" ] || sh "$here/fetch.sh" "$folder"
fi

before=
trap 'test -z "$before" || rm -f "$before"' EXIT
worst=0
note() { if [ "$1" -gt "$worst" ]; then worst=$1; fi; }
arns=
for word in "$@"; do
  case $what in
    template-check)
      if grep -Eq '^kind: *(WorkspaceTemplate|Workspace)$|karpenter' "$word"; then
        "$program" template check "$word" || note $?
      fi
      ;;
    whois)
      case $word in
        # No ARN has a blank in it.
        arn:*) arns="$arns $word" ;;
        *)
          # shellcheck disable=SC2086
          "$program" whois $arns -f "$word" || note $?
          ;;
      esac
      ;;
    access-diff)
      before=$(mktemp)
      # A new file takes nothing from anybody.
      if git show "HEAD:./$word" > "$before" 2>/dev/null; then
        "$program" access diff --from-file "$before" -f "$word" || note $?
      fi
      rm -f "$before"
      ;;
    *)
      printf 'capt-spot: there is no hook %s\n' "$what" >&2
      exit 2
      ;;
  esac
done
exit "$worst"
