namespace Vmm.Host;

/// <summary>Signals that end or stop a run, as people call them.</summary>
internal static class SignalNames
{
    public static string Of(int signal) =>
        signal == LibC.SIGHUP ? "SIGHUP"
        : signal == LibC.SIGINT ? "SIGINT"
        : signal == LibC.SIGQUIT ? "SIGQUIT"
        : signal == LibC.SIGTERM ? "SIGTERM"
        : signal == LibC.SIGXCPU ? "SIGXCPU (the limit of CPU time)"
        : $"signal {signal}";
}
