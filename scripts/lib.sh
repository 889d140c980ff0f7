# shellcheck shell=bash
# Functions of the scripts here, which source this after "set -euo pipefail".

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$root/.venv"

# The packages of Debian and Ubuntu that the daemon runs, imports and compiles with. Kernel headers are not among them:
# any will do.
# shellcheck disable=SC2034 # the scripts that source this use it
host_packages="python3 python3-bpfcc python3-seccomp iproute2 iptables mount util-linux"

say() { echo "${0##*/}: $*"; }
die() {
    say "$*" >&2
    exit 1
}

need_root() { ((EUID == 0)) || die "needs root, to $1: run it in a root shell or with sudo"; }

# Make a folder for this run, which is removed at its end. Other users may read it: not everything runs as root.
make_scratch() {
    scratch=$(mktemp --directory)
    trap 'rm -rf "$scratch"' EXIT
    chmod 755 "$scratch"
}

owner_is_root() { [[ $(stat --format %u "$root") == 0 ]]; }

# Run a command as the owner of the checkout, also under sudo: the files that it makes there must be the owner's.
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

# Run tests that need root in a network, a /run with its named namespaces, a BPF file system and a process namespace of
# their own. They change nothing of this machine, do not meet other runs of the tests, and leave nothing, however they
# end. The tests' process is process 1 there, as systemd is on a host: some have it start the daemon as systemd does.
#
# "bound" is what ends them, such as timeout with its arguments. It stays outside, and its signals do not get in: unshare
# ignores all but SIGKILL, with which it ends them.
bound=()
isolated() {
    # shellcheck disable=SC2016 # the inner bash expands this
    "${bound[@]}" unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
        set -e
        ip link set lo up
        mount -t tmpfs tmpfs /run
        mount -t sysfs sysfs /sys # a sysfs shows the links of the network namespace in which it was mounted
        mount -t bpf bpf /sys/fs/bpf
        exec "$@"
    ' isolated "$@"
}

# The same with this machine's network, over which packages come. The host on which they are installed has its own.
isolated_but_for_network() {
    mkdir -p /run/netns
    # shellcheck disable=SC2016 # the inner bash expands this
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
        set -e
        mount -t tmpfs tmpfs /run/netns
        exec "$@"
    ' isolated "$@"
}
