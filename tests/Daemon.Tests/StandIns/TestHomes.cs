namespace Vmm.Daemon.Tests.StandIns;

/// <summary>Directories of a test's own, removed at its end.</summary>
internal sealed class TestHomes : IDisposable
{
    public string Root { get; } = Directory.CreateTempSubdirectory("vmmd").FullName;

    public string State => Path.Combine(Root, "state");

    public string Runtime => Path.Combine(Root, "run");

    public string Socket => Path.Combine(Root, "vmmd.sock");

    public string Machine(string name) => Path.Combine(State, "vmm", "machines", name);

    public string ControlDirectory(string name) => Path.Combine(Runtime, "vmm", name);

    /// <summary>What vmmd has to be told for it, whatever this user's own settings are.</summary>
    public string[] Arguments(params ReadOnlySpan<string> more) =>
    [
        "--contentRoot", Root, "--socket", Socket, "--state-home", State, "--runtime-home", Runtime, "--Vmmd:ScanInterval", "00:00:00.05",
        "--Logging:LogLevel:Default", "Warning", .. more,
    ];

    public StandInMachine Start(string name, ulong memory = 256UL << 20, int cpus = 1) => new(State, Runtime, name, memory, cpus);

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
