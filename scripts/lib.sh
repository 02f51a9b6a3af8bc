# Shared by the scripts here.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../firmware/lib.sh"

# Whether KVM can be used here. (Opening it with <> would make a file of that name where there is none.)
has_kvm() { [[ -c /dev/kvm && -r /dev/kvm && -w /dev/kvm ]]; }
has_qemu() { ((EUID == 0)) || command -v qemu-system-x86_64 >/dev/null; }

# For benchmarks: figures come one a line; a table of four columns goes out.
median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
row() { printf '| %s | %s | %s | %s |\n' "$@"; }

# What figures are worth depends on this.
benched_host() {
    local each kind='no KVM' emulated=
    for each in intel:'Intel VT-x' amd:'AMD-V' pvm:'PVM'; do
        if [[ -d /sys/module/kvm_${each%%:*} ]]; then kind=${each#*:}; fi
    done
    if [[ -n ${VMM_BENCH_INSIDE:-} ]]; then emulated=', itself emulated by QEMU TCG'; fi
    echo "Host: $kind$emulated, $(nproc) CPUs, Linux $(uname -r), $(date -u +%F), load $(cut -d' ' -f1 /proc/loadavg); medians."
}
