# What both engines of the emulated host, QEMU and Bochs (vt-x/), are made with: the programs and Debian's kernel packages.
# shellcheck shell=bash

# Inside: what runs commands. Outside: what starts the emulator and carries the streams.
# shellcheck disable=SC2034
session_parts=(session.c command.c request.c stay.c inner.c peers.c frames.c)
# shellcheck disable=SC2034
launch_parts=(launch.c describe.c signals.c terminal.c outlet.c background.c outer.c peers.c machine.c warm.c switch.c frames.c)
build() { local into=$1; shift; gcc -O2 -Wall -Wextra -Werror "$@" -o "$into"; }

# The kernel inside a bzImage: offset and length of the payload stand in its header (Linux boot protocol, 2.08).
# unpack_kernel BZIMAGE FILE
unpack_kernel() {
    local image=$1 payload=$2.payload sectors offset length
    sectors=$(od -An -tu1 -j497 -N1 "$image")
    offset=$(od -An -tu4 -j584 -N4 "$image")
    length=$(od -An -tu4 -j588 -N4 "$image")
    dd if="$image" of="$payload" iflag=skip_bytes,count_bytes skip=$((sectors * 512 + 512 + offset)) \
        count=$((length)) bs=1M status=none
    case $(od -An -tx1 -N4 "$payload" | tr -d ' ') in
        fd377a58) xz -dc --single-stream "$payload" ;;
        28b52ffd) zstd -dcq "$payload" ;;
        02214c18) lz4 -dcq "$payload" ;;
        1f8b*) gzip -dc "$payload" ;;
        *) die "the kernel's compression is unknown" ;;
    esac >"$2" 2>/dev/null || true          # four bytes of length follow the compressed stream
    rm "$payload"
    [[ $(head -c 4 "$2" | tail -c 3) == ELF ]] || die "the kernel could not be unpacked"
}

# Copies a module and before it those it needs, each once, and lists their file names in this order.
# add_module MODULE DIRECTORY LIST TREE...: trees in which to look, the first has precedence
declare -A added_modules
add_module() {
    local name=${1//-/_} directory=$2 list=$3 path each; shift 3
    if [[ -n ${added_modules[$name]:-} ]]; then return 0; fi
    added_modules[$name]=1
    path=$(find "$@" -name "${name//_/[-_]}.ko" -o -name "${name//_/[-_]}.ko.xz" | sed -n 1p)
    if [[ -z $path ]]; then return 0; fi                # built in
    case $path in
        *.xz) xz -dc "$path" ;;
        *) cat "$path" ;;
    esac >"$directory/$name.ko"
    for each in $(tr '\0' '\n' <"$directory/$name.ko" | sed -n 's/^depends=//p' | tr ',' ' '); do
        add_module "$each" "$directory" "$list" "$@"
    done
    printf '%s.ko\n' "$name" >>"$list"
}
