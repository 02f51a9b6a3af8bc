using System.Globalization;

namespace Vmm.Machines;

/// <summary>Resident memory of this process: the guest's and vmm's own.</summary>
internal static class ResidentMemory
{
    /// <summary>Adds up /proc/self/smaps (proc(5)).</summary>
    /// <returns>KiB of vmm itself and KiB of the guest's memory.</returns>
    public static (long Vmm, long Guest) Measure(GuestRam ram)
    {
        ulong start = (ulong)ram.HostStart;
        ulong end = start + ram.Memory.Size;
        long vmm = 0;
        long guest = 0;
        bool isGuest = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            // "7f1c80000000-7f1cc0000000 rw-p 00000000 00:00 0" begins a mapping; "Rss:    1024 kB" is one of its lines.
            int dash = line.IndexOf('-', StringComparison.Ordinal);
            if (dash > 0 && ulong.TryParse(
                line.AsSpan(0, dash), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong from))
            {
                isGuest = from >= start && from < end;
            }
            else if (line.StartsWith("Rss:", StringComparison.Ordinal))
            {
                long kib = long.Parse(line.AsSpan(4, line.Length - 4 - 2).Trim(), CultureInfo.InvariantCulture);
                guest += isGuest ? kib : 0;
                vmm += isGuest ? 0 : kib;
            }
        }

        return (vmm, guest);
    }

    /// <summary>The largest resident memory that this process has had, the guest's included, in KiB: VmHWM of
    /// /proc/self/status (proc(5)).</summary>
    public static long MeasurePeak()
    {
        const string Label = "VmHWM:";
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith(Label, StringComparison.Ordinal));
        return long.Parse(line.AsSpan(Label.Length, line.Length - Label.Length - 2).Trim(), CultureInfo.InvariantCulture);
    }
}
