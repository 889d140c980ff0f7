# shellcheck shell=bash
# What the scripts here share; sourced by them after "set -euo pipefail".

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$root/.venv"

say() { echo "${0##*/}: $*"; }
die() {
    say "$*" >&2
    exit 1
}

need_root() { ((EUID == 0)) || die "needs root, to $1: run it in a root shell or with sudo"; }

# A folder for this run, gone with it. Others may look into it, because not everything runs as root.
make_scratch() {
    scratch=$(mktemp --directory)
    trap 'rm -rf "$scratch"' EXIT
    chmod 755 "$scratch"
}

owner_is_root() { [[ $(stat --format %u "$root") == 0 ]]; }

# Run a command as whom the checkout belongs to: what it makes there must belong to them too, also under sudo.
as_owner() {
    local uid gid home
    if ((EUID != 0)); then
        "$@"
        return
    fi
    read -r uid gid < <(stat --format '%u %g' "$root")
    home=$(getent passwd "$uid" | cut --delimiter=: --fields=6 || true)
    HOME="${home:-/nonexistent}" setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@"
}
