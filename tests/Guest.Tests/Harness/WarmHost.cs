namespace Vmm.Guest.Tests.Harness;

/// <summary>An emulated host that stays, for the tests of one class: apart from the user's own, and gone at the end.</summary>
public sealed class WarmHost : IDisposable
{
    private readonly TemporaryFolder _runtime = new();

    /// <summary>Makes the folder only: <see cref="Start"/> starts the host.</summary>
    public WarmHost()
    {
        File.SetUnixFileMode(
            _runtime.Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Folder = _runtime["files"];
        _ = Directory.CreateDirectory(Folder);
    }

    /// <summary>Where scripts run: for the files of tests.</summary>
    public string Folder { get; }

    /// <summary>What the host keeps while it runs.</summary>
    public string State => _runtime["vmm"];

    /// <summary>Starts it, unless it runs.</summary>
    public void Start()
    {
        (int code, string said) = Shell("exec $kit --warm start");
        Assert.True(code == 0, said);
    }

    /// <summary>Runs a script of bash without input; <c>host COMMAND</c> runs a command in the emulated host, <c>$vmm</c> is
    /// vmm, <c>$kit</c> the script.</summary>
    public (int Code, string Said) Shell(string script) => HostTool.Run("bash", "-c", $"""
        export XDG_RUNTIME_DIR='{_runtime.Path}' vmm='{Product.Vmm}' kit='{Product.KvmHost}' LC_ALL=C
        unset VMM_EMULATED VMM_KVM_EMULATED
        host() ($kit --local -- "$@")
        cd '{Folder}'; exec </dev/null
        {script}
        """);

    public void Dispose()
    {
        _ = Shell("$kit --warm stop");
        _runtime.Dispose();
    }
}
