# Shared by the scripts here.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../firmware/lib.sh"

# Whether KVM can be used here; opening it is what counts.
has_kvm() { (exec 3<>/dev/kvm) 2>/dev/null; }
has_qemu() { ((EUID == 0)) || command -v qemu-system-x86_64 >/dev/null; }
