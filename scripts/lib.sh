# Shared by the scripts here.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../firmware/lib.sh"

# Whether KVM can be used here. (Opening it with <> would make a file of that name where there is none.)
has_kvm() { [[ -c /dev/kvm && -r /dev/kvm && -w /dev/kvm ]]; }
has_qemu() { ((EUID == 0)) || command -v qemu-system-x86_64 >/dev/null; }

# For benchmarks: figures come one a line; a table of four columns goes out. Of nothing there is no median and no ratio.
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
ratio() { awk -v a="${1:-}" -v b="${2:-}" 'BEGIN { if (a != "" && b != "") printf "%.2f", a / b }'; }
row() { printf '| %s | %s | %s | %s |\n' "$@"; }

# The kind of host, as results are filed by.
host_kind() {
    local each kind=no-kvm
    for each in intel:vt-x amd:amd-v pvm:pvm; do
        if has_kvm && [[ -d /sys/module/kvm_${each%%:*} ]]; then kind=${each#*:}; fi
    done
    echo "$kind${VMM_KVM_EMULATED:+-emulated}"
}

# What figures are worth depends on this.
benched_host() {
    echo "Host: $(host_kind), $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo), $(nproc) CPUs, Linux $(uname -r)," \
        "$(date -u +%F), load $(cut -d' ' -f1 /proc/loadavg); medians."
}

# Goes on where KVM can be used: here, or else, the same script again, in the emulated host. Figures from there say how
# much work each program does, not what a processor would make of it.
#
# with_kvm 'NAME ...' ARGUMENT...: variables to take along, and the script's own arguments
with_kvm() {
    local name along=()
    if has_kvm; then return; fi
    if [[ -n ${VMM_KVM_EMULATED:-} ]]; then die "no usable /dev/kvm in the emulated host"; fi
    for name in $1; do along+=(--env "$name=${!name:-}"); done
    shift
    mkdir -p out/bench
    say "no usable /dev/kvm here: measuring inside an emulated KVM host (firmware/kvm-host/run)"
    exec firmware/kvm-host/run --cpus "${EMULATED_CPUS:-1}" --timeout 3600 --share out/bench "${along[@]}" -- "$0" "$@"
}
