# The outcomes of tests: how they are read from what a run left, and counted. Files of them have a line for each: `outcome<TAB>name`.
# shellcheck shell=bash

# Prints `outcome<TAB>name` for each result of a .trx file; "NoKvm" for those skipped for the lack of it;
# "NoVtX" for those that scripts/test-vt-x runs.
outcomes() {
    awk '
        /<UnitTestResult / {
            name = $0; sub(/.* testName="/, "", name); sub(/".*/, "", name)
            outcome = $0; sub(/.* outcome="/, "", outcome); sub(/".*/, "", outcome)
            if (outcome == "NotExecuted") { held = name; if ($0 ~ /\/>[[:space:]]*$/) { print "Skipped\t" held; held = "" } }
            else print outcome "\t" name
        }
        held != "" && /no usable \/dev\/kvm here/ { print "NoKvm\t" held; held = "" }
        held != "" && /no VT-x here/ { print "NoVtX\t" held; held = "" }
        held != "" && /<\/UnitTestResult>/ { print "Skipped\t" held; held = "" }
    ' "$1"
}

# Prints the same of what a run said on its console, as far as it came.
verdicts() { sed -nE 's/^  (Passed|Failed|Skipped) (.*) \[[^]]*\]$/\1\t\2/p' "$1"; }

# Why a test failed, in a line: reason LOG NAME
reason() {
    awk -v name="  Failed $2" '
        index($0, name) == 1 { found = 1; next }
        found && /^  (Error Message|Stack Trace):/ { if (/Stack/) exit; next }
        found && NF && length(text) < 300 { sub(/^ +/, ""); text = text " " $0 }
        END { print substr(text, 2, 300) }
    ' "$1"
}

# The last lines of a run; is it a success? One that is silent about a test which had to run is none.
# closing BROKEN FILE...: runs that died without a failed test; the files of outcomes
closing() {
    local broken=$1 lines passed failed skipped open; shift
    lines=$( (($# == 0)) || cat -- "$@")
    count() { grep -cE "^($1)" <<<"$lines" || true; }
    passed=$(count Passed)
    failed=$(($(count 'Failed|Error|Timeout|Aborted') + broken))
    skipped=$(count 'Skipped|NoKvm')
    open=$(count NoVerdict)
    if ((open)); then
        awk -F'\t' '$1 == "NoVerdict" { print "no verdict: " $2 ": " $3 }' <<<"$lines"
        echo "A run in which tests have no verdict is no success. Run it again when the machine is less busy, or on one with" \
            "/dev/kvm; or those tests alone: firmware/kvm-host/run -- dotnet vstest out/artifacts/bin/PROJECT/release/PROJECT.dll" \
            "--TestCaseFilter:FullyQualifiedName=TEST"
    fi
    echo "$passed passed, $failed failed, $skipped skipped$( ((open == 0)) || echo ", $open without a verdict")"
    ((failed == 0 && open == 0 && passed > 0))
}
