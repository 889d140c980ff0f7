# shellcheck shell=bash
# What the scripts here share; sourced by them after "set -euo pipefail".

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$root/.venv"

# What the daemon runs, imports and compiles with, as Debian and Ubuntu call it, but for kernel headers: any will do.
# shellcheck disable=SC2034 # for those who source this
host_packages="python3 python3-bpfcc iproute2 iptables mount util-linux"

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

# What runs as root among the tests gets a network, a /run with its named namespaces, a BPF file system and processes of their own. This
# machine's are not touched, other runs of the tests are not met, and however a run ends, nothing of it stays.
isolated() {
    # shellcheck disable=SC2016 # the inner bash expands this
    unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
        set -e
        ip link set lo up
        mount -t tmpfs tmpfs /run
        mount -t sysfs sysfs /sys # one shows the links of the network namespace in which it was mounted
        mount -t bpf bpf /sys/fs/bpf
        exec "$@"
    ' isolated "$@"
}

# The same, but for the network, over which packages come. What they are installed on has a network of its own.
isolated_but_for_network() {
    mkdir -p /run/netns
    # shellcheck disable=SC2016 # the inner bash expands this
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
        set -e
        mount -t tmpfs tmpfs /run/netns
        exec "$@"
    ' isolated "$@"
}
