#!/bin/bash
# The life of three machines: db, of vmm run, with nothing in it but vmm's agent; web, a kernel of a few instructions that does
# nothing; and one that crashes. Each command is checked: t CODE PATTERN COMMAND..., where PATTERN is an extended regular expression
# for all that it says (- for nothing). Ends with 1 if one was not as it should be.
# usage: three-machines.sh DIRECTORY   (with vmm, vmlinux, idle.elf and crash.elf)
set -u
here=$1
cd "$HOME" || exit 1
number=0 failed=0

t() {
    local code=$1 pattern=$2 said got
    shift 2
    said=$("$@" 2>&1 </dev/null)
    got=$?
    number=$((number + 1))
    if [[ $got == "$code" ]] && { [[ $pattern == - && -z $said ]] || { [[ $pattern != - ]] && [[ $said =~ $pattern ]]; }; }; then
        echo "ok $number: $*"
    else
        echo "NOT ok $number: $*: code $got, wanted $code; wanted '$pattern', said:"
        echo "$said"
        failed=1
    fi
}

vmm() { "$here/vmm" "$@"; }
db() { vmm run -d "$@" --kernel "$here/vmlinux" -m 64M --root none; }
web() { vmm --detach "$@" --kernel "$here/idle.elf" -m 32M; }
until_state() { for _ in $(seq 600); do vmm ps -a | grep -Eq "^$1 +$2" && return; sleep 0.1; done; vmm ps -a; return 1; }

# A command on a terminal of its own (script(1)), and a conversation with it: what it prints is waited for, keys are sent. Then its
# exit code is printed, and whether the terminal is as it was before. on_terminal COMMAND [WAIT_FOR KEYS]... [WAIT_FOR]
on_terminal() {
    local command=$1 got= char pid from to
    shift
    export SHELL=/bin/bash
    coproc TERMINAL { exec script -qefc "stty rows 33 cols 111; stty -g >before; $command; code=\$?; stty -g | cmp - before && echo terminal ok, code \$code." /dev/null; }
    # Those of the coprocess bash closes as soon as it has ended.
    pid=$TERMINAL_PID
    exec {from}<&"${TERMINAL[0]}" {to}>&"${TERMINAL[1]}"
    while (($#)); do
        while [[ $got != *"$1"* ]]; do
            IFS= read -r -d '' -t 120 -N 1 -u "$from" char || { echo "'$1' did not come after: $got"; kill "$pid"; return 1; }
            got+=$char
        done
        got=
        if (($# > 1)); then printf '%b' "$2" >&"$to"; fi
        shift $(($# > 1 ? 2 : 1))
    done
    timeout 120 cat <&"$from" || { echo "it did not end"; ps -ef; kill "$pid"; return 1; }
    exec {from}<&- {to}>&-
    wait "$pid"
}

# Before there is any.
t 0 '^NAME +STATE' vmm ps
t 1 '^vmm: db: no such machine' vmm stop db
t 64 "^vmm: '../db': no name of a machine" vmm rm ../db
t 64 '^vmm: --name .*no name of a machine' web --name /etc/passwd
t 64 '^vmm: --name a{40}\.\.\.: no name' web --name "$(printf 'a%.0s' $(seq 10000))"
t 64 'no such file' vmm --detach --name web --kernel "$HOME/none"
t 64 'goes with --detach' vmm --kernel "$here/idle.elf" --restart always
t 64 '^vmm: --restart often: there are' web --name web --restart often
t 0 '^NAME[^\n]*$' vmm ps -a

# In the foreground: known by its name as long as it runs.
front() { exec "$here/vmm" --kernel "$here/idle.elf" -m 32M --name front >front.out 2>&1; }
front & pid=$!
t 0 - until_state front running
t 1 '^vmm: front: it runs in the foreground; what it says' vmm logs front
t 1 '^vmm: front: it runs in the foreground; give its command again' vmm start front
t 1 '^vmm: front: it runs in the foreground; stop it' vmm restart front
t 1 '^vmm: front: it runs in the foreground; limits go with' vmm update --cpu-limit 1 front
t 64 '^vmm: --name front: there is such a machine already' vmm --kernel "$here/idle.elf" --name front
t 0 '^front$' vmm pause front
t 0 '^front$' vmm resume front
t 0 '^143$' bash -c "'$here/vmm' wait front & until readlink /proc/\$!/fd/* | grep -q pidfd; do sleep 0.1; done; '$here/vmm' stop front >/dev/null; wait"
wait "$pid"
t 143 - bash -c "exit $?"
t 0 '^NAME[^\n]*$' vmm ps -a
front & pid=$!
t 0 - until_state front running
kill -9 "$pid"
t 0 - until_state front dead
t 0 '^front$' web --name front
t 0 '^front$' vmm rm -f front

# web: a plain machine.
t 0 '^web$' web --name web
t 0 'web +running +idle.elf +32M +1' vmm ps
t 64 '^vmm: --name web: there is such a machine already' web --name web
t 0 '^ready' vmm logs web
t 0 'Z ready' vmm logs -t --tail 1 web
t 0 - vmm logs --since 2100-01-01 web
t 0 '^ready' bash -c "timeout 60 '$here/vmm' logs -f web | head -n 1; exit \${PIPESTATUS[0]}"
t 0 '^NAME' bash -c "timeout 60 '$here/vmm' ps --watch | head -n 1; exit \${PIPESTATUS[0]}"
t 0 '^ready' bash -c "timeout 60 '$here/vmm' attach web | head -n 1; exit \${PIPESTATUS[0]}"
t 0 'terminal ok, code 0\.' on_terminal "'$here/vmm' attach web" ready '\020\021'
t 64 '^vmm: --since soon: is no time' vmm logs --since soon web
t 0 '"name": "web"' vmm inspect web
t 1 '^vmm: web: it runs; stop it first' vmm rm web
t 1 '^vmm: web: it runs already' vmm start web
t 0 '^site$' vmm rename web site
t 1 '^vmm: web: no such machine' vmm logs web
t 0 'site +running' vmm ps
t 0 - vmm port site

# db: a machine of vmm run.
t 0 '^db$' db --name db
t 0 'db +running +vmlinux +64M' vmm ps
t 0 $'^db\nsite$' vmm ps -q
t 1 '^vmm: site: there is such a machine' vmm rename db site

# Pause, resume, and the guest from within.
t 0 '^site$' vmm pause site
t 0 'site +paused' vmm ps
t 1 '^vmm: site: it is paused already' vmm pause site
t 0 '^site$' vmm resume site
t 1 '^vmm: site: it is not paused' vmm resume site
t 0 '"state":"running"' vmm ctl db status
t 0 '^hello$' vmm exec db -- echo hello
t 3 - vmm exec db -- sh -c 'exit 3'

# What cannot be run: codes as a shell has them, and one line each.
t 127 '^vmm: db: /bin/none: no such program in the guest$' vmm exec db -- /bin/none
t 127 '^none: [a-z ]*not found$' vmm exec db -- none
t 126 '^vmm: db: /bin: Permission denied$' vmm exec db -- /bin
t 126 '^vmm: db: /proc/version: Permission denied$' vmm exec db -- /proc/version
t 126 '^vmm: db: /proc/version/none: Not a directory$' vmm exec db -- /proc/version/none
t 137 - vmm exec db -- sh -c 'kill -9 $$'
t 125 '^vmm: db: --workdir /none: No such file or directory in the guest$' vmm exec -w /none db -- true
t 125 '^vmm: db: --user nosuch: no such user or group in the guest$' vmm exec -u nosuch db -- true
t 125 "^vmm: none: no such machine; 'vmm ps -a' lists them$" vmm exec none -- true
t 125 '^vmm: site: commands can be started in machines of .vmm run. only: this one has no agent$' vmm exec site -- true
t 125 '^vmm: ../none: no machine listens there$' vmm exec ../none -- true
t 64 '^vmm: a machine and a command are needed' vmm exec db
t 69 '^vmm: site: commands can be started' vmm cp site:/etc out

# A shell in it, on a terminal: its size, Ctrl-C, its exit code; then the terminal is as it was.
t 0 'terminal ok, code 5\.' on_terminal "'$here/vmm' exec -it db -- sh" \
    '# ' 'stty size\r' '33 111' "sh -c 'trap \"exit 9\" INT; echo a\"\"b; sleep 1000 & wait'\r" ab '\003' '# ' 'echo code $?\r' 'code 9' 'exit 5\r'

# Files into it and out of it: modes, owners and links.
mkdir -p tree/sub && echo hello >tree/sub/file && chmod 640 tree/sub/file && chmod 750 tree/sub && ln -s sub/file tree/link && ln tree/sub/file tree/hard
look() { stat -c '%n %A %u' tree tree/sub; stat -c '%n %A %u %h' tree/sub/file tree/hard; readlink tree/link; cat tree/link; }
t 0 - vmm cp tree db:/tmp
t 0 "^$(look)\$" vmm exec db -w /tmp -- sh -c "$(declare -f look); look"
t 0 - vmm cp db:/tmp/tree again
t 0 - diff -r tree again
t 0 "^$(look)\$" bash -c "mkdir out; mv again out/tree; cd out; $(declare -f look); look"
t 0 - vmm exec db -- sh -c 'chown 5:6 /tmp/tree/hard; ln -s /etc/passwd /tmp/out; mknod /tmp/tree/null c 1 3'
t 0 'device' vmm cp db:/tmp/tree more
t 69 'No such file' vmm cp db:/none more
t 64 'there is no such directory' vmm cp db:/tmp/tree none/

# Saved, and restored under other names: in the background, and here as long as it runs. Each has an identity of its own.
t 0 - vmm exec db -- sh -c 'mkdir -p /etc; echo 0123 >/etc/machine-id; echo kept >/tmp/word'
t 0 '"pause"' vmm ctl db snapshot "{\"directory\":\"$HOME/saved\"}"
t 0 '"pause"' vmm ctl site snapshot "{\"directory\":\"$HOME/plain\"}"
t 0 '^hello$' vmm exec db -- echo hello
t 64 '^vmm: --name db: there is such a machine already' vmm restore saved --name db
t 64 '^vmm: --clock soon: there are real and continue' vmm restore saved --clock soon
t 64 '^vmm: --clock real: this machine is none of' vmm restore plain --clock real
t 0 '^copy$' vmm restore saved --name copy --detach
t 0 $'^copy\nkept\n[0-9a-f]{32}$' vmm exec copy -- sh -c 'hostname; cat /tmp/word /etc/machine-id'
t 0 '^copy: .* of memory put back' vmm rewind copy
t 0 $'^copy\nkept\n[0-9a-f]{32}$' vmm exec copy -- sh -c 'hostname; cat /tmp/word /etc/machine-id'
vmm restore saved --name here >/dev/null 2>&1 &
t 0 - until_state here running
t 0 $'^here\nkept$' bash -c "for i in \$(seq 60); do '$here/vmm' exec here -- sh -c 'hostname; cat /tmp/word' && exit; sleep 1; done 2>/dev/null"
t 0 '^here$' vmm stop here
wait $!
t 1 '^vmm: here: no such machine' vmm stop here
t 0 '^copy$' vmm rm -f copy
t 0 '^twin$' vmm restore plain --name twin --detach
t 0 'twin +running +idle.elf +32M' vmm ps
t 0 '^twin$' vmm rm -f twin

# Back to where it was saved, as often as wanted. What was started since is lost, and says so.
for _ in 1 2; do
    rm -f up
    vmm exec db -- sh -c 'echo changed >/tmp/word; rm /etc/machine-id; echo up; exec sleep 1000' >up 2>lost &
    until grep -q up up 2>/dev/null; do sleep 0.1; done
    t 0 '^db: .* of memory put back' vmm rewind db
    wait $!
    t 125 'db: sh: the machine went back to its snapshot while it ran' bash -c "cat lost; exit $?"
    t 0 $'^kept\n0123$' vmm exec db -- cat /tmp/word /etc/machine-id
done
t 69 'no such machine' vmm rewind none
rm -r saved plain

# Stop, wait, start.
t 0 '^site$' vmm stop site
t 0 'site +exited \(143\)' vmm ps -a
t 0 '^143$' vmm wait site
t 0 '^site$' vmm stop site
t 0 '^site$' vmm start site
t 0 '^site$' vmm restart -t 5 site
t 0 '^site$' vmm kill site
t 0 'site +exited \(137\)' vmm ps -a
t 1 '^vmm: site: it does not run' vmm kill site
t 1 '^vmm: site: it does not run' vmm pause site
t 1 $'^site\nvmm: none: no such machine' vmm rm site none

# A machine that crashes.
t 0 '^[a-z]+-[a-z]+$' vmm --detach --kernel "$here/crash.elf" -m 32M
two=$(vmm ps -aq | grep -v db)
t 0 '^70$' vmm wait "$two"
t 0 'the guest crashed' vmm logs "$two"
t 0 "^$two\$" vmm rm "$two"
t 0 '^bad$' vmm --detach --name bad --restart on-failure:2 --kernel "$here/crash.elf" -m 32M
t 0 '^70$' vmm wait bad
t 0 'ready.*starting it again.*ready.*starting it again.*ready' vmm logs bad
t 0 '"restarts": 2' vmm inspect bad
t 0 '^bad$' vmm restart bad
t 0 '^bad$' vmm rm -f bad none

# A vmm that is killed.
kill -9 "$(vmm inspect db | sed -n 's/^  "pid": \([0-9]*\).*/\1/p')"
t 0 - until_state db dead
t 0 'its vmm was killed; it left' vmm ps -a
t 0 '^137$' vmm wait db
t 1 'db: no such machine' bash -c "'$here/vmm' rm db & '$here/vmm' rm db; a=\$?; wait \$! ; exit \$((a + \$?))"
t 0 '^NAME[^\n]*$' vmm ps -a
exit $failed
