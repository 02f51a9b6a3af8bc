namespace Vmm.Insight.Timeline;

/// <summary>Lines of Linux's log that mark a step of its boot, with the name of the step in a timeline.</summary>
internal static class Milestones
{
    public const string Init = "init";
    public const string Shell = "shell";

    // Each part of the text has to be there, in order. The first line that fits counts.
    private static readonly (string Name, string[] Parts)[] Known =
    [
        ("kernel speaks", ["Linux version "]),
        ("memory counted", ["Memory: ", " available"]),
        ("CPUs up", ["smp: Brought up "]),
        ("ACPI", ["ACPI: Interpreter enabled"]),
        ("PCI bus", ["PCI host bridge to bus "]),
        ("network stack", ["TCP: Hash tables configured"]),
        ("initramfs unpacked", ["Freeing initrd memory"]),
        ("serial driver", [" at I/O 0x3f8 ", " is a "]),
        ("clock source", ["clocksource: Switched to clocksource tsc"]),
        ("root mounted", ["VFS: Mounted root"]),
        ("kernel memory sealed", ["Write protecting the kernel read-only data"]),
        (Init, ["Run ", " as init process"]),
        ("power off", ["reboot: "]),
    ];

    /// <summary>The name of the step that this line marks; null for none.</summary>
    public static string? Of(string line)
    {
        foreach ((string name, string[] parts) in Known)
        {
            if (HasAll(line, parts))
            {
                return name;
            }
        }

        return VirtioDevice(line);
    }

    public static bool IsInit(string line) => HasAll(line, Known.First(known => known.Name == Init).Parts);

    /// <summary>A shell's prompt ends in <c># </c> or <c>$ </c>, and is not a line of the kernel's log.</summary>
    public static bool IsPrompt(ReadOnlySpan<byte> line) =>
        (line.EndsWith("# "u8) || line.EndsWith("$ "u8)) && line[0] != (byte)'[';

    /// <summary><c>virtio_blk virtio0: ...</c> becomes <c>virtio_blk virtio0</c>: a driver has found its device.</summary>
    private static string? VirtioDevice(string line)
    {
        if (!line.StartsWith("virtio_", StringComparison.Ordinal))
        {
            return null;
        }

        int colon = line.IndexOf(": ", StringComparison.Ordinal);
        int space = line.IndexOf(' ', StringComparison.Ordinal);
        const int Longest = 40;
        return space > 0 && colon is > 0 and < Longest && space < colon
            && line.AsSpan(space + 1).StartsWith("virtio", StringComparison.Ordinal)
            ? line[..colon]
            : null;
    }

    private static bool HasAll(string line, string[] parts)
    {
        int at = 0;
        foreach (string part in parts)
        {
            int found = line.IndexOf(part, at, StringComparison.Ordinal);
            if (found < 0)
            {
                return false;
            }

            at = found + part.Length;
        }

        return true;
    }
}
