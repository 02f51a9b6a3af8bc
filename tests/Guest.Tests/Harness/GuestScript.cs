using System.Text;

namespace Vmm.Guest.Tests.Harness;

/// <summary>How the reference guest is told what to do (firmware/rootfs/init.c).</summary>
internal static class GuestScript
{
    /// <summary>Shell commands that print how many requests all disks served and how many interrupts of virtio devices
    /// there were, since the start.</summary>
    public const string CountRequests = """
        cat /sys/block/vd*/stat | awk '{ n += $1 + $5 + $16 } END { print "requests=" n }'
        awk '/virtio/ { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print "interrupts=" n }' /proc/interrupts

        """;

    /// <summary>The interactive shell's prompt, at home.</summary>
    public const string Prompt = "vmm:~# ";

    /// <summary>For --cmdline: a script to run instead of a shell; its exit status becomes vmm's.</summary>
    public static string Option(string script) =>
        "vmm.sh=" + Convert.ToBase64String(Encoding.UTF8.GetBytes(script.ReplaceLineEndings("\n")));

    /// <summary>A script as a disk, for <c>vmm.run=/dev/vdX</c>: longer than a command line can be.</summary>
    /// <param name="length">Of the disk, in bytes; zeros follow the script.</param>
    public static byte[] Disk(string script, int length)
    {
        byte[] disk = new byte[length];
        Encoding.UTF8.GetBytes(script.ReplaceLineEndings("\n")).CopyTo(disk, 0);
        return disk;
    }

    /// <summary>The value of a line <c>name=value</c> that a script printed.</summary>
    public static string Value(string output, string name)
    {
        foreach (string line in output.Split('\n'))
        {
            if (line.StartsWith(name + "=", StringComparison.Ordinal))
            {
                return line[(name.Length + 1)..].TrimEnd('\r');
            }
        }

        throw new InvalidOperationException($"no line '{name}=...' in:\n{output}");
    }
}
