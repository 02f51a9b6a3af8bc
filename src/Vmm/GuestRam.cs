using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Options;

namespace Vmm;

/// <summary>The guest's memory: one mapping of this process, shown to the guest below and above the hole.</summary>
internal sealed class GuestRam : IDisposable
{
    private readonly AnonymousMemory _mapping;

    /// <param name="size">Bytes, as --mem gives it.</param>
    /// <exception cref="HostException">The host does not have so much.</exception>
    public GuestRam(ulong size)
    {
        CheckAgainstHost(size);
        _mapping = new AnonymousMemory(size, "give less --mem");
        (ulong low, ulong high) = Layout.SplitMemory(size);
        var below = new GuestRegion(new GuestAddress(0), low, _mapping.Start);
        Memory = high == 0
            ? new GuestMemory(below)
            : new GuestMemory(
                below, new GuestRegion(new GuestAddress(Layout.FourGib), high, _mapping.Start + (nint)low));
    }

    public GuestMemory Memory { get; }

    /// <summary>Where the mapping lies in this process, for telling its resident part from vmm's own.</summary>
    public nint HostStart => _mapping.Start;

    public void Dispose() => _mapping.Dispose();

    /// <summary>Memory is taken lazily, so Linux would promise any amount and end some process later.</summary>
    private static void CheckAgainstHost(ulong size)
    {
        ulong total = 0;
        foreach (string line in File.ReadLines("/proc/meminfo"))
        {
            // "MemTotal:       24683620 kB"
            if (line.StartsWith("MemTotal:", StringComparison.Ordinal)
                || line.StartsWith("SwapTotal:", StringComparison.Ordinal))
            {
                string number = line.Split(':')[1].Replace("kB", "", StringComparison.Ordinal).Trim();
                total += ulong.Parse(number, System.Globalization.CultureInfo.InvariantCulture) << 10;
            }
        }

        if (size > total)
        {
            throw new UsageException(
                $"--mem {ByteSize.Format(size)}: this host has {total >> 20}M with swap; give less");
        }
    }
}
