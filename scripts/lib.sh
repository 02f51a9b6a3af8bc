# Shared by the scripts here.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../firmware/lib.sh"

# Whether KVM can be used here. (Opening it with <> would make a file of that name where there is none.)
has_kvm() { [[ -c /dev/kvm && -r /dev/kvm && -w /dev/kvm ]]; }
has_qemu() { ((EUID == 0)) || command -v qemu-system-x86_64 >/dev/null; }
