using System.Diagnostics;
using System.Globalization;

namespace Vmm.Guest.Tests.Harness;

/// <summary>A shell with job control on a terminal of its own, as a person has it: bash leads the session, puts each job
/// into a process group, and says whose the terminal is.</summary>
internal sealed class JobShell : IDisposable
{
    private const string Prompt = "job shell> ";

    private readonly PseudoTerminal _terminal = new();
    private readonly TemporaryFolder _folder = new();
    private readonly Process _process;

    public JobShell()
    {
        const string Script = "terminal=$1; shift; exec setsid --ctty env --default-signal \"$@\" "
            + "<\"$terminal\" >\"$terminal\" 2>&1";
        _process = Process.Start(new ProcessStartInfo(
            "/bin/sh",
            ["-c", Script, "sh", _terminal.Path, $"PS1={Prompt}", $"VMM={Product.Vmm}", $"PIDFILE={PidFile}",
            "HISTFILE=/dev/null", "bash", "--norc", "--noprofile", "--noediting", "-i"]))!;
        Screen = Transcript.Of(_terminal.Read);
        Screen.WaitFor(Prompt);
    }

    /// <summary>What the terminal shows.</summary>
    public Transcript Screen { get; }

    public string Settings => _terminal.Settings;

    private string PidFile => _folder["pid"];

    /// <summary>Types a line; $VMM in it is vmm.</summary>
    public void Type(string line) => _terminal.Write(line + "\n");

    /// <summary>Types a line that starts vmm in place of a shell, which notes its process id first.</summary>
    /// <param name="arguments">vmm's.</param>
    /// <param name="more">Behind the command: <c>&amp;</c>.</param>
    /// <returns>The process id.</returns>
    public int StartVmm(string arguments, string more = "")
    {
        File.Delete(PidFile);
        Type($"sh -c 'echo $$ >$PIDFILE; exec $VMM {arguments}' {more}");
        ProcessInfo.WaitUntil(() => File.Exists(PidFile) && File.ReadAllText(PidFile).EndsWith('\n'), "vmm's start", () => Screen.Text);
        return int.Parse(File.ReadAllText(PidFile), CultureInfo.InvariantCulture);
    }

    /// <summary>Types keys as they are.</summary>
    public void Press(string keys) => _terminal.Write(keys);

    /// <summary>Waits until the shell has the terminal again, and asks for the last command's exit code.</summary>
    /// <param name="pid">Of the job in the foreground, which reads what is typed before its end; 0 for one that does not.
    /// </param>
    public int LastCode(int pid = 0)
    {
        WaitFor(() => (pid == 0 || !Directory.Exists($"/proc/{pid}"))
            && ProcessInfo.Foreground(_process.Id) == _process.Id, "the job's end");
        Type("echo co''de=$?");
        Screen.WaitFor("code=");
        string end = Screen.WaitFor("\n");
        return int.Parse(end.Trim(), CultureInfo.InvariantCulture);
    }

    public void WaitFor(Func<bool> condition, string what) => ProcessInfo.WaitUntil(condition, what, () => Screen.Text);

    public void Dispose()
    {
        // The session's leader: what it started is hung up with the terminal.
        Signals.EndForCertain(_process);
        if (File.Exists(PidFile) && int.TryParse(File.ReadAllText(PidFile), out int pid) && Directory.Exists($"/proc/{pid}"))
        {
            Signals.Send(pid, Signals.SIGKILL);
        }

        _terminal.HangUp();
        Screen.WaitForEnd();
        _terminal.Dispose();
        _folder.Dispose();
    }
}
