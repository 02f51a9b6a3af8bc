# Shared by the scripts of firmware/: where the cache is, how to lock it, how to get Debian's packages.
# shellcheck shell=bash

FIRMWARE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(dirname "$FIRMWARE")
VMM_CACHE=${VMM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vmm}
LC_ALL=C
export LC_ALL

say() { printf '%s: %s\n' "${TOOL:-firmware}" "$*" >&2; }
die() { say "$*"; exit "${FAULT:-1}"; }

# key FILE|WORD...: a short hash over the contents of the files and the words.
key() {
    local each
    for each; do
        if [[ -f $each ]]; then cat -- "$each"; else printf '%s\n' "$each"; fi
    done | sha256sum | cut -c1-16
}

# with_lock NAME COMMAND...: one at a time over all processes that share the cache.
with_lock() {
    local name=$1 lock; shift
    mkdir -p "$VMM_CACHE"
    exec {lock}>"$VMM_CACHE/$name.lock"
    if ! flock -n "$lock"; then
        say "waiting for another process that makes the same ($name)"
        flock "$lock"
    fi
    "$@"
    exec {lock}>&-
}

# need COMMAND|FILE=PACKAGE...: installs the packages whose command or file is missing, and only those.
need() {
    local each missing=()
    for each; do
        command -v "${each%%=*}" >/dev/null || [[ -e ${each%%=*} || -e /usr/sbin/${each%%=*} || -e /sbin/${each%%=*} ]] ||
            missing+=("${each#*=}")
    done
    if ((${#missing[@]} == 0)); then return 0; fi
    if ((EUID != 0)); then
        die "missing: ${missing[*]}; as root: apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    with_lock apt apt_install "${missing[@]}"
}

# One at a time: several of these scripts may run side by side.
apt_install() {
    apt_lists
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" >/dev/null ||
        die "apt-get could not install $*"
}

# Fetches a package's .deb into DIRECTORY, with new lists where the old ones name what the mirror no longer has.
# apt_download PACKAGE DIRECTORY
apt_download() {
    download() { (cd "$2" && apt-get download -qq "$1" >/dev/null 2>&1); }
    download "$@" || { apt-get update -qq >/dev/null && download "$@"; } || die "apt-get download $1 failed"
}

# Package lists that are empty (a fresh machine) are fetched once.
apt_refresh() { with_lock apt apt_lists; }
apt_lists() {
    if [[ -n $(find /var/lib/apt/lists -name '*Packages*' -print -quit 2>/dev/null) ]]; then return 0; fi
    apt-get update -qq >/dev/null || say "apt-get update failed; trying with what is there"
}

# Packages of another release of Debian's, unpacked into DIRECTORY/root and not installed. False, with the reason said, where they
# cannot be had.
# fetch_suite SUITE DIRECTORY PACKAGE...
fetch_suite() {
    local suite=$1 kept=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg each; shift 2
    if [[ -d $kept/root ]]; then return 0; fi
    rm -rf "$kept" && mkdir -p "$kept/lists/partial" "$kept/archives/partial" "$kept/deb"
    echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite main" >"$kept/sources.list"
    local apt=(-qq -o "Dir::Etc::sourcelist=$kept/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$kept/lists" -o "Dir::Cache=$kept" -o APT::Sandbox::User=root)
    if ! { apt-get "${apt[@]}" update && (cd "$kept/deb" && apt-get "${apt[@]}" download "$@"); } >"$kept/log" 2>&1; then
        say "not to be had: $* of Debian's $suite: $(tail -n 1 "$kept/log")"
        return 1
    fi
    for each in "$kept"/deb/*.deb; do dpkg-deb -x "$each" "$kept/unpacked" || return 1; done
    mv "$kept/unpacked" "$kept/root"
    rm -rf "$kept/deb" "$kept/archives" "$kept/lists"
}
