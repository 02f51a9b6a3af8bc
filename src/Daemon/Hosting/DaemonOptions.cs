namespace Vmm.Daemon.Hosting;

/// <summary>What can be configured, in the section <c>Vmmd</c>: by appsettings.json, by variables (<c>Vmmd__Socket</c>), on the command
/// line (<c>--Vmmd:Socket PATH</c>); the later of these comes first.</summary>
internal sealed class DaemonOptions
{
    public const string Section = "Vmmd";

    /// <summary>The Unix socket; $XDG_RUNTIME_DIR/vmmd/vmmd.sock if not given. Not used when systemd gives one.</summary>
    public string? Socket { get; set; }

    /// <summary>Who may connect: the socket's mode, octal. With 0660 the socket's group, too.</summary>
    public string SocketMode { get; set; } = "0600";

    /// <summary>The program that a machine is started by; beside vmmd, or on PATH, if not given.</summary>
    public string? Program { get; set; }

    /// <summary>What the machines have as XDG_STATE_HOME; vmmd's own if not given.</summary>
    public string? StateHome { get; set; }

    /// <summary>What the machines have as XDG_RUNTIME_DIR; vmmd's own if not given.</summary>
    public string? RuntimeHome { get; set; }

    /// <summary>How often machines that others started are looked for.</summary>
    public TimeSpan ScanInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>How long a machine may take to answer.</summary>
    public TimeSpan AnswerTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long the start of a machine may take: until it is up, which on slow hosts is a while.</summary>
    public TimeSpan StartTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>Connections at the same time; further ones are closed.</summary>
    public int MostConnections { get; set; } = 512;

    /// <summary>Of those, one user's.</summary>
    public int MostConnectionsPerUser { get; set; } = 256;

    /// <summary>Directories whose files users other than vmmd's own may name: kernels, disks, shares. None if not given.</summary>
    public string[] Files { get; set; } = [];

    /// <summary>What each user may have.</summary>
    public QuotaOptions Quota { get; set; } = new();

    /// <summary>What certain users may have instead, by number.</summary>
    public Dictionary<string, QuotaOptions> Quotas { get; set; } = [];

    /// <summary>A port beside the Unix socket; none if not given.</summary>
    public TcpOptions? Tcp { get; set; }
}

/// <summary>A user's share; null is no limit.</summary>
internal sealed class QuotaOptions
{
    /// <summary>Machines, those that have ended included.</summary>
    public int? Machines { get; set; }

    /// <summary>Memory of all that run, as 8G.</summary>
    public string? Memory { get; set; }

    /// <summary>Virtual CPUs of all that run.</summary>
    public int? Cpus { get; set; }
}

/// <summary>TCP is for those who hold a certificate only: all three are needed.</summary>
internal sealed class TcpOptions
{
    /// <summary>As 127.0.0.1:7767 or [::]:7767.</summary>
    public string? Address { get; set; }

    /// <summary>The server's certificate with those between it and its root, PEM.</summary>
    public string? Certificate { get; set; }

    /// <summary>Its key, PEM.</summary>
    public string? Key { get; set; }

    /// <summary>Who signed the clients' certificates, PEM. They may do what vmmd's own user may.</summary>
    public string? ClientCa { get; set; }
}
