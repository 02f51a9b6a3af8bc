using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Kvm;

namespace Vmm.Guest.Tests;

/// <summary>A command in the emulated host is as it would be on this machine (<c>vmm --emulated</c>). One host for
/// most of them.</summary>
public sealed class EmulatedHostTests(WarmHost host) : IClassFixture<WarmHost>
{
    [PvmHostFact]
    public void Streams_are_apart_and_carry_every_byte()
    {
        Assert.Equal("e 7 same", Run("""
            host sh -c 'echo o; echo e >&2; exit 7' 2>error >output; code=$?
            head -c 1500000 /dev/urandom >sent; host cat <sent >came; cmp sent came && same=same
            [ "$(cat output)" = o ] && echo $(cat error) $code $same
            """));
    }

    [PvmHostFact]
    public void A_closed_pipe_ends_the_command_and_what_it_did_not_read_is_left() => Assert.Equal("y 141 a b c", Run("""
        host yes | head -n 1 | tr '\n' ' '; echo -n "${PIPESTATUS[0]} "
        printf 'a\nb\nc\n' >lines; while read line; do host true; echo -n "$line "; done <lines
        """));

    [PvmHostFact]
    public void Its_files_are_the_real_ones_with_modes_and_errors() => Assert.Equal("first second 600 12582912 no b=2 99", Run("""
        echo first >name; echo -n "$(host cat name) "; echo second >name; echo -n "$(host cat name) "
        (umask 077; host sh -c 'head -c 12M /dev/zero >image'); stat -c '%a %s' image
        host sh -c 'echo >/nonexistent/file' 2>/dev/null || echo no
        b=2 host sh -c 'echo b=$b'; (ulimit -n 99; host sh -c 'ulimit -n')
        """).ReplaceLineEndings(" "));

    [PvmHostFact]
    public void Signals_reach_the_command_and_it_ends_by_them() => Assert.Equal("term 5 143 130 T done 0", Run("""
        exec 2>/dev/null; begun() { while [ ! -e begun ]; do sleep 0.1; done; rm begun; }
        $kit --local -- sh -c 'trap "echo -n term\ ; exit 5" TERM; touch begun; while :; do sleep 0.1; done' & begun
        kill -TERM $!; wait $!; echo -n "$? "
        $kit --local -- sh -c 'touch begun; exec sleep 100' & begun; kill -TERM $!; wait $!; echo -n "$? "
        host sh -c 'kill -INT $$'; echo -n "$? "
        set -m; $kit --local -- sh -c 'touch begun; while [ ! -e go ]; do sleep 0.1; done; echo -n "done "' & begun
        kill -TSTP $!; until grep -q '^State:.T' /proc/$!/status; do sleep 0.1; done; touch go; sleep 1
        echo -n "T "; kill -CONT $!; wait -f $!; echo -n "$?"
        """));

    [PvmHostFact]
    public void Many_commands_run_at_the_same_time_and_none_outlives_the_program_that_started_it() => Assert.Equal("210 0", Run("""
        for number in $(seq 1 20); do (host sh -c "sleep 0.2; exit $number"; echo $? >>codes) & done; wait
        echo -n "$(awk '{ sum += $1 } END { print sum }' codes) "
        $kit --local -- sh -c 'echo >beats; touch begun; while :; do echo >>beats; sleep 0.1; done' & while [ ! -e begun ]; do sleep 0.1; done
        kill -KILL $!; wait $! 2>/dev/null; while $kit --warm status | grep -q ' 1 command'; do sleep 0.1; done
        before=$(stat -c %s beats); sleep 1; echo $(($(stat -c %s beats) - before))
        """));

    [PvmHostFact]
    public void Machines_write_where_the_user_means()
    {
        using TestGuest guest = SmallGuests.OnKey(code => SmallGuests.Exit(code, 42));
        Assert.Equal("ready 42 64 {", Run($$"""
            (sleep 1; echo) | $vmm --emulated --kernel {{guest.Path}} --mem 32M --trace trace.json 2>said | tr -d '\r\n'
            echo -n " ${PIPESTATUS[1]} "
            VMM_EMULATED=1 $vmm exits --kernel /nonexistent 2>/dev/null; echo -n "$? "; head -c 1 trace.json
            """));
    }

    [PvmHostFact]
    public void A_terminal_is_the_commands_while_it_runs_and_given_back()
    {
        host.Start();
        using TestGuest guest = SmallGuests.OnKey(code => SmallGuests.Exit(code, 42));
        using var terminal = VmmTerminal.Of(
            "env", "XDG_RUNTIME_DIR=" + Path.GetDirectoryName(host.State), Product.Vmm, "--emulated", "--kernel", guest.Path, "--mem", "32M");
        terminal.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        Assert.NotEqual(terminal.SettingsBefore, terminal.Settings);
        terminal.Type("r");
        (int code, string settings, string screen) = terminal.Finish();
        Assert.True(code == 42, screen);
        Assert.Equal(terminal.SettingsBefore, settings);
    }

    [PvmHostFact]
    public void At_a_terminal_jobs_are_stopped_continued_and_left_alone_in_the_background()
    {
        host.Start();
        using var terminal = VmmTerminal.Of(
            "env", "XDG_RUNTIME_DIR=" + Path.GetDirectoryName(host.State), "PS1=$ ", "kit=" + Product.KvmHost, "bash", "--norc", "--noediting", "-i");
        terminal.Screen.WaitFor("$ ");
        terminal.Type("$kit --local -- sh -c 'echo be''gun; sleep 2; echo slept'\r");
        terminal.Screen.WaitFor("begun");
        terminal.Type("\x1a");
        terminal.Screen.WaitFor("Stopped");
        terminal.Type("bg\recho in''between\r");
        terminal.Screen.WaitFor("inbetween");
        terminal.Screen.WaitFor("slept");
        terminal.Type("$kit --local -- sh -c 'echo ag''ain; exec sleep 100'\r");
        terminal.Screen.WaitFor("again");
        terminal.Type("\x03");
        terminal.Type("echo code''=$?; exit 3\r");
        (int code, string settings, string screen) = terminal.Finish();
        Assert.Contains("code=130", screen, StringComparison.Ordinal);
        Assert.Equal(3, code);
        Assert.Equal(terminal.SettingsBefore, settings);
    }

    [PvmHostFact]
    public void A_warm_host_is_started_once_reports_its_status_and_ends_when_idle()
    {
        using var own = new WarmHost();
        (_, string said) = own.Shell("""
            $kit --warm status; echo $?
            export VMM_HOST_IDLE=3; $kit --warm start >one & $kit --warm start >two & wait; sort one two | cut -d' ' -f 1-5
            host true; echo $?; $kit --warm status | grep -c '0 commands'
            while $kit --warm status >/dev/null; do sleep 0.2; done
            """);
        Assert.Equal(
            "no emulated host is running; 'vmm host start' starts one\n1\nvmm: the emulated host runs\nvmm: the emulated host runs\n0\n1\n", said);
        Assert.False(Directory.Exists(own.State));
    }

    [PvmHostFact]
    public void A_warm_host_that_is_killed_leaves_nothing_and_the_next_command_starts_its_own()
    {
        using var own = new WarmHost();
        own.Start();
        (_, string said) = own.Shell($"""
            process=$($kit --warm status | sed 's/.*process \([0-9]*\),.*/\1/'); machine=$(pgrep -P $process | head -n 2)
            kill -KILL $process; for try in $(seq 300); do [ -e {own.State} ] && sleep 0.1; done
            for each in $machine; do for try in $(seq 300); do
                grep -q '^State:.[RSD]' /proc/$each/status 2>/dev/null && sleep 0.1
            done; done
            host sh -c 'echo alone; exit 4'; echo $?; ls {own.State} 2>&1 | grep -c 'No such'
            """);
        Assert.Equal("alone\n4\n1\n", said);
    }

    private string Run(string script)
    {
        host.Start();
        return host.Shell(script).Said.TrimEnd();
    }
}
