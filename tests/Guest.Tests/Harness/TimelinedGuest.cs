namespace Vmm.Guest.Tests.Harness;

/// <summary>Two boots of the reference guest, each when first asked for: one with a profile, one with a timeline.</summary>
public sealed class TimelinedGuest : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly Lazy<VmmProcess.Ended> _profiled;
    private readonly Lazy<VmmProcess.Ended> _timelined;

    public TimelinedGuest()
    {
        _profiled = new Lazy<VmmProcess.Ended>(() => Boot(
            "exits", "--stats", "--output", Profile, "--trace", Trace, "--cmdline", "quiet " + GuestScript.Option("exit 0")));
        _timelined = new Lazy<VmmProcess.Ended>(() => Boot(
            "boot-timeline", "--until", "init", "--json", Timeline, "--html", Page, "--cmdline", "quiet"));
    }

    internal VmmProcess.Ended Profiled => _profiled.Value;

    internal VmmProcess.Ended Timelined => _timelined.Value;

    internal string Profile => _folder["exits.json"];

    internal string Trace => _folder["trace.json"];

    internal string Timeline => _folder["timeline.json"];

    internal string Page => _folder["timeline.html"];

    public void Dispose() => _folder.Dispose();

    private VmmProcess.Ended Boot(string command, params IEnumerable<string> arguments)
    {
        string root = _folder[command + ".img"];
        if (!File.Exists(root))
        {
            _folder.CopyOfRootfs(command + ".img");
        }

        return VmmProcess.Run(
            [command, "--kernel", Product.Vmlinux, "--mem", "64M", "--disk", root, "--rng", .. arguments]);
    }
}
