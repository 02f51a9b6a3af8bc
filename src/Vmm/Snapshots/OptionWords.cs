using System.Globalization;
using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Text;

namespace Vmm.Snapshots;

/// <summary>Formats a machine's devices as command-line options with absolute paths: a snapshot is read by the options' own
/// parsers, which check everything.</summary>
internal static class OptionWords
{
    public static string Of(DiskSpec disk) => Join(
        Path.GetFullPath(disk.Path),
        disk.FormatIsGiven ? $"format={disk.Format.Name()}" : null,
        disk.ReadOnly ? "readonly" : null,
        disk.Ephemeral ? "ephemeral" : null,
        disk.Overlay is { } overlay ? $"overlay={Path.GetFullPath(overlay)}" : null,
        disk.Backing is { } backing ? $"backing={Path.GetFullPath(backing)}" : null,
        disk.Cache == DiskCache.Writeback ? null : $"cache={Lower(disk.Cache)}",
        disk.Serial.Length == 0 ? null : $"serial={disk.Serial}",
        Number("blocksize", disk.BlockSize),
        disk.Queues == 1 ? null : Number("queues", (ulong)disk.Queues),
        disk.Discard ? null : "discard=off",
        Number("iops", disk.Iops),
        Number("bw", disk.Bandwidth),
        disk.Faults.ErrorRate > 0 ? $"fault=eio@{Decimal(disk.Faults.ErrorRate)}" : null,
        disk.Faults.LatencyMilliseconds > 0 ? $"fault=latency@{disk.Faults.LatencyMilliseconds}" : null,
        disk.Faults.TornSector is { } torn ? $"fault=torn@{torn}" : null,
        Number("seed", (ulong)disk.Faults.Seed));

    /// <param name="mac">The card's address, given or derived.</param>
    public static string Of(NetSpec net, ReadOnlySpan<byte> mac) => Join(
    [
        net.Mode switch
        {
            NetMode.User => "user",
            NetMode.Tap => $"tap={net.Target}",
            _ => $"socket={Path.GetFullPath(net.Target)}",
        },
        $"mac={MacAddress.Format(mac)}",
        Number("mtu", net.Mtu),
        net.Queues == 1 ? null : Number("queues", (ulong)net.Queues),
        .. net.Published.Select(static port => $"publish={Of(port)}"),
        Number("pps", net.FrameLimit),
        Number("bw", net.Bandwidth),
        net.Faults.LossRate > 0 ? $"loss={Decimal(net.Faults.LossRate)}" : null,
        Number("delay", (ulong)net.Faults.DelayMilliseconds),
        Number("seed", (ulong)net.Faults.Seed),
    ]);

    /// <summary>With its tag, which the guest knows.</summary>
    public static string Of(ShareSpec share) => Join(
        $"{Path.GetFullPath(share.HostPath)}:{share.GuestPath}", share.IsWritable ? "rw" : null, $"tag={share.Tag}");

    public static string Of(VsockSpec vsock) => Join(Path.GetFullPath(vsock.Path), Number("cid", vsock.Cid));

    /// <summary>(In a port's option commas are not doubled.)</summary>
    public static string Of(PortSpec port) => $"{port.Name}={Path.GetFullPath(port.Path)}";

    private static string Of(PublishedPort port)
    {
        string address = port.Address is null ? "" : port.Address.Contains(':', StringComparison.Ordinal) ? $"[{port.Address}]:" : $"{port.Address}:";
        return string.Create(CultureInfo.InvariantCulture, $"{address}{port.Port}:{port.GuestPort}");
    }

    private static string Join(params ReadOnlySpan<string?> parts)
    {
        var words = new List<string>();
        foreach (string? part in parts)
        {
            if (part is not null)
            {
                words.Add(part.Replace(",", ",,", StringComparison.Ordinal));
            }
        }

        return string.Join(',', words);
    }

    private static string? Number(string name, ulong value) =>
        value == 0 ? null : string.Create(CultureInfo.InvariantCulture, $"{name}={value}");

    private static string Decimal(double value) => value.ToString("0.#################", CultureInfo.InvariantCulture);

    private static string Lower(DiskCache cache) => cache switch
    {
        DiskCache.Writethrough => "writethrough",
        DiskCache.None => "none",
        DiskCache.Unsafe => "unsafe",
        _ => "writeback",
    };
}
