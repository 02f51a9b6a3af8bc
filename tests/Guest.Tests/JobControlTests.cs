using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>vmm as a job of a shell: it has the terminal in the foreground, and leaves it alone in the background.</summary>
public sealed class JobControlTests
{
    private const int Code = 7;

    [KvmFact]
    public void A_machine_started_in_the_background_runs_and_gets_the_terminal_in_the_foreground()
    {
        using TestGuest guest = SmallGuests.OnKey(code => SmallGuests.Exit(code, Code));
        using var shell = new JobShell();
        string cooked = shell.Settings;
        int pid = shell.StartVmm($"--kernel {guest.Path} --mem 32M", "&");
        shell.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        Assert.NotEqual('T', ProcessInfo.State(pid));
        Assert.Equal(cooked, shell.Settings);

        // What is typed is the shell's.
        shell.Type("echo he''re");
        shell.Screen.WaitFor("here");
        EndInForeground(shell, pid, cooked);
    }

    [KvmFact]
    public void Timeout_in_a_script_puts_vmm_into_the_background_where_it_runs()
    {
        using TestGuest guest = new(code => SmallGuests.Exit(code, Code));
        using var shell = new JobShell();
        string cooked = shell.Settings;
        shell.Type($"sh -c 'timeout 1000 $VMM --kernel {guest.Path} --mem 32M; exit $?'");
        Assert.Equal(Code, shell.LastCode());
        Assert.Equal(cooked, shell.Settings);
    }

    [KvmFact]
    public void A_machine_that_is_stopped_gives_the_terminal_back_and_goes_on_where_it_was()
    {
        using TestGuest guest = SmallGuests.OnKey(code => SmallGuests.Exit(code, Code));
        using var shell = new JobShell();
        string cooked = shell.Settings;
        int pid = shell.StartVmm($"--kernel {guest.Path} --mem 32M");
        shell.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        string raw = shell.Settings;
        Assert.NotEqual(cooked, raw);
        for (int round = 0; round < 3; round++)
        {
            // SIGSTOP, which cannot be caught, leaves it to the shell to put the terminal right.
            Signals.Send(pid, round == 1 ? Signals.SIGSTOP : Signals.SIGTSTP);
            shell.WaitFor(() => ProcessInfo.State(pid) == 'T', "the stop");
            shell.Type("echo round''s");
            shell.Screen.WaitFor("rounds");
            Assert.Equal(cooked, shell.Settings);
            shell.Type("fg");
            shell.WaitFor(() => shell.Settings == raw, "raw mode");
        }

        shell.Press("k");
        Assert.Equal(Code, shell.LastCode(pid));
        Assert.Equal(cooked, shell.Settings);
    }

    [KvmFact]
    public void A_stopped_machine_goes_on_in_the_background_without_touching_the_terminal()
    {
        using TestGuest guest = SmallGuests.OnKey(code => SmallGuests.Exit(code, Code));
        using var shell = new JobShell();
        string cooked = shell.Settings;
        int pid = shell.StartVmm($"--kernel {guest.Path} --mem 32M");
        shell.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        shell.WaitFor(() => shell.Settings != cooked, "raw mode");
        Signals.Send(pid, Signals.SIGTSTP);
        shell.WaitFor(() => ProcessInfo.State(pid) == 'T', "the stop");
        shell.Type("bg");
        shell.WaitFor(() => ProcessInfo.State(pid) != 'T', "its going on");
        shell.Type("echo he''re");
        shell.Screen.WaitFor("here");
        Assert.NotEqual('T', ProcessInfo.State(pid));
        Assert.Equal(cooked, shell.Settings);
        EndInForeground(shell, pid, cooked);
    }

    [KvmFact]
    public void Output_in_the_background_waits_where_the_user_wants_it_to()
    {
        using TestGuest guest = SmallGuests.OnKey(code => SmallGuests.Exit(code, Code));
        using var shell = new JobShell();
        shell.Type("stty tostop; echo set''ting");
        shell.Screen.WaitFor("setting");
        string cooked = shell.Settings;
        int pid = shell.StartVmm($"--kernel {guest.Path} --mem 32M", "&");
        Thread.Sleep(500);
        shell.Type("echo be''fore");
        Assert.DoesNotContain(SmallGuests.Ready.TrimEnd(), shell.Screen.WaitFor("before"), StringComparison.Ordinal);
        Assert.NotEqual('T', ProcessInfo.State(pid));
        shell.Type("fg");
        shell.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        shell.WaitFor(() => shell.Settings != cooked, "raw mode");
        shell.Press("k");
        Assert.Equal(Code, shell.LastCode(pid));
    }

    private static void EndInForeground(JobShell shell, int pid, string cooked)
    {
        shell.Type("fg");
        shell.WaitFor(() => shell.Settings != cooked, "raw mode");
        shell.Press("k");
        Assert.Equal(Code, shell.LastCode(pid));
        Assert.Equal(cooked, shell.Settings);
    }
}
