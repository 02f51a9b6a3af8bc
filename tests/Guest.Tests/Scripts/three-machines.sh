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

# web: a plain machine.
t 0 '^web$' web --name web
t 0 'web +running +idle.elf +32M +1' vmm ps
t 64 '^vmm: --name web: there is such a machine already' web --name web
t 0 '^ready' vmm logs web
t 0 'Z ready' vmm logs -t --tail 1 web
t 0 - vmm logs --since 2100-01-01 web
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
