using System.Diagnostics;

namespace Vmm.Guest.Tests.Harness;

/// <summary>vmm on a terminal of its own, as a person uses it.</summary>
internal sealed class VmmTerminal : IDisposable
{
    public const string ControlA = "\x01";
    public const string Enter = "\r";

    private readonly PseudoTerminal _terminal = new();
    private readonly Process _process;
    private Transcript? _screen;

    public VmmTerminal(params IEnumerable<string> arguments)
        : this(isRead: true, [Product.Vmm, .. arguments])
    {
    }

    private VmmTerminal(bool isRead, IEnumerable<string> command)
    {
        SettingsBefore = _terminal.Settings;

        // The leader of a session of its own, whose terminal is this one: sh and setsid both become what follows.
        // A signal that the tests were started without (nohup make test) would stay ignored by vmm, too.
        const string Script = "terminal=$1; shift; exec setsid --ctty env --default-signal \"$@\" <\"$terminal\" >\"$terminal\" 2>&1";
        _process = Process.Start(
            new ProcessStartInfo("/bin/sh", ["-c", Script, "sh", _terminal.Path, .. command]))!;
        _ = isRead ? Screen : null;
    }

    /// <summary>What the terminal shows. Nothing reads it before this property is first used.</summary>
    public Transcript Screen => _screen ??= Transcript.Of(_terminal.Read);

    /// <summary>Any program on such a terminal.</summary>
    public static VmmTerminal Of(params IEnumerable<string> command) => new(isRead: true, command);

    public string SettingsBefore { get; }

    public int Id => _process.Id;

    /// <summary>On a terminal whose other side reads nothing yet.</summary>
    public static VmmTerminal StartUnread(params IEnumerable<string> arguments) => new(isRead: false, [Product.Vmm, .. arguments]);

    public string Settings => _terminal.Settings;

    public void Type(string keys) => _terminal.Write(keys);

    /// <summary>Gives the terminal another size; the kernel sends SIGWINCH.</summary>
    public void Resize(ushort rows, ushort columns) => _terminal.Resize(rows, columns);

    public void Signal(int number) => Signals.Send(_process, number);

    /// <returns>The exit code.</returns>
    public int WaitForEnd()
    {
        if (!_process.WaitForExit(Product.Patience))
        {
            throw new InvalidOperationException($"vmm does not end; it said:\n{_screen?.Text}");
        }

        return _process.ExitCode;
    }

    /// <summary>Waits for the end and for the rest of what was said.</summary>
    public (int Code, string Settings, string Screen) Finish()
    {
        int code = WaitForEnd();
        string settings = Settings;
        _terminal.HangUp();
        return (code, settings, Screen.WaitForEnd());
    }

    public void Dispose()
    {
        Signals.EndForCertain(_process);
        _terminal.HangUp();
        Screen.WaitForEnd();
        _terminal.Dispose();
    }
}
