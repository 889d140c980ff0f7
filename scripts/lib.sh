# shellcheck shell=bash
# Functions of the scripts here, which source this after "set -euo pipefail".

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$root/.venv"

# The distribution, by ID and VERSION_ID of /etc/os-release, as in "debian-12".
# shellcheck source=/dev/null
system=$( (. /etc/os-release && echo "${ID:-}-${VERSION_ID:-}") 2>/dev/null || echo unknown)

requirements="$root/scripts/requirements"

# The packages of Debian and Ubuntu that the daemon runs, imports and compiles with. Kernel headers are not among them:
# any will do.
# shellcheck disable=SC2034 # the scripts that source this use it
host_packages="python3 python3-bpfcc python3-seccomp iproute2 iptables mount$(
    sed 's/.* / /' "$requirements/$system.distribution" 2>/dev/null | tr --delete '\n'
)"

say() { echo "${0##*/}: $*"; }
die() {
    say "$*" >&2
    exit 1
}

# Fail on a distribution whose packages we do not know.
known_system() {
    [[ -e "$requirements/$system.distribution" ]] ||
        die "knows the packages of Debian 12 and 13 and Ubuntu 22.04 and 24.04, not of $system${1:+; needed: $1}"
}

need_root() { ((EUID == 0)) || die "needs root, to $1: run it in a root shell or with sudo"; }

# Make a folder for this run, which is removed at its end. Other users may read it: not everything runs as root.
make_scratch() {
    scratch=$(mktemp --directory)
    trap 'rm -rf "$scratch"' EXIT
    chmod 755 "$scratch"
}

# The command by which virtual environments' Pythons run. PIP_* variables that would send an installation elsewhere are
# unset; those of an index, a proxy or a certificate stay. Packages in someone's ~/.local must not count as installed:
# other users do not see them.
# shellcheck disable=SC2034 # the scripts that source this use it
alone=(env --unset=PIP_TARGET --unset=PIP_PREFIX --unset=PIP_ROOT --unset=PIP_REQUIREMENT --unset=PIP_DRY_RUN
    --unset=PYTHONPATH --unset=PYTHONHOME PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1)

# Run pip with a command ("install", "download") for what a file of scripts/requirements pins, in the virtual environment
# $1. Wheels only: nothing runs that would build one.
pip_pinned() {
    local environment=$1 file=$2
    shift 2
    "${alone[@]}" "$environment/bin/python3" -m pip --quiet "$@" --no-deps --require-hashes --only-binary :all: \
        --requirement "$requirements/$file" ||
        die "cannot $1 what scripts/requirements/$file names: see above, and whether the network is there"
}

# Download the Debian package $1, which is not installed, and print where it is.
download() {
    local work
    work=$(mktemp --directory --tmpdir="$scratch")
    # As root, because apt's own user for downloads, _apt, may not write here.
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2) ||
        die "cannot download the package $1: see above, and whether the network is there and apt-get update ran"
    echo "$work/$1"_*.deb
}

# Put cloud-init's schema of cloud-config, and the licence of the package that it is from, into $1/cloud-init. It is the
# distribution's, as guests of this distribution have it; where it cannot be had, "eve-meta check" says that it did not
# look.
fetch_cloud_init_schema() {
    local package file
    if ! package=$(download cloud-init); then
        say "eve-meta check will not compare cloud-config with cloud-init's schema" >&2
        return
    fi
    mkdir "$1/cloud-init"
    for file in lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json share/doc/cloud-init/copyright; do
        dpkg-deb --fsys-tarfile "$package" | tar --extract --to-stdout "./usr/$file" >"$1/cloud-init/${file##*/}"
    done
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

# Where only root may enter a folder that the checkout $1 is below, such as a home of mode 0700, let everybody reach the
# checkout, at the same path: in a folder that only this mount namespace has. $2 is an empty folder.
open_to_all() {
    local above=/ below
    while [[ $above != "$1" ]]; do
        if ! setpriv --reuid nobody --regid nogroup --clear-groups test -x "$above"; then
            mount --bind "$1" "$2"
            mount -t tmpfs -o mode=755 tmpfs "$above"
            mkdir -p "$1"
            mount --move "$2" "$1"
            return
        fi
        below=${1#"${above%/}/"}
        above=${above%/}/${below%%/*}
    done
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
    "${bound[@]}" unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc bash -c "
        $(declare -f open_to_all)"'
        set -e
        ip link set lo up
        mount -t tmpfs tmpfs /run
        mkdir /run/checkout
        open_to_all "$1" /run/checkout
        rmdir /run/checkout
        cd "$1"
        shift
        mount -t sysfs sysfs /sys # a sysfs shows the links of the network namespace in which it was mounted
        mount -t bpf bpf /sys/fs/bpf
        exec "$@"
    ' isolated "$root" "$@"
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
