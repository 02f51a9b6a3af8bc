# For scripts that kill vmm and look at what is left, in name spaces of their own: their lists are exact then.
# shellcheck shell=bash

# in_namespaces SCRIPT ARGUMENT...: starts it again, with a first argument `inside`.
in_namespaces() {
    local own=()
    ((EUID == 0)) || own=(--user --map-root-user)
    exec unshare "${own[@]}" --mount --propagation private --pid --fork --kill-child --net --mount-proc "$1" inside "${@:2}"
}

# Empty /tmp, /var/tmp, /dev/shm, XDG_RUNTIME_DIR and HOME, and a directory to work in: empty_places KERNEL, which becomes /mnt/kernel.
empty_places() {
    local each
    ip link set lo up 2>/dev/null || true
    mount -t tmpfs tmpfs /mnt
    cp "$1" /mnt/kernel
    for each in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$each"; done
    mkdir -p /mnt/run /mnt/shared /mnt/work /mnt/home
    export XDG_RUNTIME_DIR=/mnt/run HOME=/mnt/home
    unset XDG_STATE_HOME XDG_CACHE_HOME VMM_KVM_EMULATED        # a host that is emulated lives as long as the script
    cd /mnt/work
}

# What there is: processes but this one, files, mounts, network name spaces and their devices, sockets with a name, locks of files here.
list() {
    local each
    for each in /proc/[0-9]*; do
        [[ ${each#/proc/} == "$$" || ${each#/proc/} == "$BASHPID" ]] || {
            # What has ended and is not reaped yet is no process any more: this script, the reaper, does it in its own time.
            [[ $(sed 's/.*) \(.\) .*/\1/' "$each/stat" 2>/dev/null || echo Z) == Z ]] ||
                echo "process $(tr '\0' ' ' <"$each/cmdline" 2>/dev/null | cut -c1-150)"
        }
    done
    find /tmp /var/tmp /dev/shm /mnt -mindepth 1 -printf 'file %p\n' | sort
    awk '{ print "mount", $5, $9 }' /proc/self/mountinfo
    awk 'NR > 2 { print "device", $1 }' /proc/net/dev
    awk 'NF > 7 { print "socket", $8 }' /proc/net/unix
    stat -L -c 'netns %i' /proc/[0-9]*/ns/net 2>/dev/null | sort -u
    for each in /mnt/disk*.img; do echo "lock $(grep -c ":$(stat -c %i "$each") " /proc/locks) $each"; done
}

# Without the tools that make the list, and without what `ignored` matches.
ignored='^$'
now() { list | grep -vE "^process (awk|find|stat|sort|grep|sed|tr|cut|cat|date) |$ignored"; }

# Waits until all is as it was; the longest that it took is in `most`: until_as BEFORE WHAT-HAPPENED
most=0
until_as() {
    local began took after
    began=$(date +%s%N)
    while :; do
        after=$(now)
        if [[ $after == "$1" ]]; then break; fi
        if (($(date +%s%N) - began > 20000000000)); then
            echo "$2: this is left (>), or gone (<):"
            diff <(echo "$1") <(echo "$after") || true
            exit 1
        fi
        sleep 0.05
    done
    took=$((($(date +%s%N) - began) / 1000000))
    ((took <= most)) || most=$took
}

# Processes of the program $vmm whose command line has the words: of_vmm [WORD]
of_vmm() {
    local each
    for each in /proc/[0-9]*; do
        if [[ $(readlink "$each/exe" 2>/dev/null) == "$vmm" ]] && tr '\0' ' ' <"$each/cmdline" 2>/dev/null | grep -q -- "${1:-}"; then
            echo "${each#/proc/}"
        fi
    done
}
