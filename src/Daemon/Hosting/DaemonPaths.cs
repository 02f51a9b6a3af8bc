using Microsoft.Extensions.Options;

namespace Vmm.Daemon.Hosting;

/// <summary>Where things are, after options and environment have been looked at.</summary>
internal sealed class DaemonPaths
{
    /// <exception cref="ConfigurationException">A directory is neither given nor known.</exception>
    public DaemonPaths(IOptions<DaemonOptions> options)
    {
        DaemonOptions given = options.Value;
        StateHome = given.StateHome ?? Variable("XDG_STATE_HOME") ?? Path.Combine(
            Variable("HOME") ?? throw new ConfigurationException("Vmmd:StateHome is missing, and neither XDG_STATE_HOME nor HOME is set"),
            ".local", "state");
        RuntimeHome = given.RuntimeHome ?? Variable("XDG_RUNTIME_DIR")
            ?? throw new ConfigurationException("Vmmd:RuntimeHome is missing, and XDG_RUNTIME_DIR is not set");
        Socket = given.Socket ?? Path.Combine(RuntimeHome, "vmmd", "vmmd.sock");
        Program = given.Program ?? FindProgram();
    }

    public string StateHome { get; }

    public string RuntimeHome { get; }

    /// <summary>A directory for each machine.</summary>
    public string Machines => Path.Combine(StateHome, "vmm", "machines");

    /// <summary>Who has which machine.</summary>
    public string Owners => Path.Combine(StateHome, "vmm", "vmmd", "owners");

    public string Socket { get; }

    /// <summary>vmm; null if there is none.</summary>
    public string? Program { get; }

    public string ControlSocket(string machine) => Path.Combine(RuntimeHome, "vmm", machine, "control.sock");

    private static string? Variable(string name) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } value && Path.IsPathFullyQualified(value) ? value : null;

    private static string? FindProgram()
    {
        IEnumerable<string> directories = [AppContext.BaseDirectory, .. (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')];
        return directories.Where(Path.IsPathFullyQualified).Select(static each => Path.Combine(each, "vmm")).FirstOrDefault(File.Exists);
    }
}
