namespace Vmm.Host;

/// <summary>Signals that end or stop a run, as people call them.</summary>
internal static class SignalNames
{
    public static string Of(int signal) => signal switch
    {
        LibC.SIGHUP => "SIGHUP",
        LibC.SIGINT => "SIGINT",
        LibC.SIGQUIT => "SIGQUIT",
        LibC.SIGTERM => "SIGTERM",
        LibC.SIGXCPU => "SIGXCPU (the limit of CPU time)",
        _ => $"signal {signal}",
    };
}
