#!/bin/bash
# Prepare this machine, a clean Debian, for the lab and the tests. The Vagrantfile runs this within the VM.
set -euo pipefail
umask 022
export PATH="/usr/sbin:/usr/bin:/sbin:/bin"

checkout=${1:?usage: provision.sh CHECKOUT [OPTION OF scripts/bootstrap]}
shift

"$checkout/scripts/bootstrap" "$@"
if [[ -e /dev/kvm ]]; then
    echo "provision: guests here have KVM"
else
    echo "provision: there is no /dev/kvm: QEMU's guests are emulated, and take a minute to boot"
fi
cat <<TEXT
provision: ready. Within the VM ("vagrant ssh"):
  sudo $checkout/scripts/lab demo    eve-meta and five guests
  sudo $checkout/scripts/test        every test
  sudo $checkout/scripts/install     eve-meta as a service of this host
TEXT
