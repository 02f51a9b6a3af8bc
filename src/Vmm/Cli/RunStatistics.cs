using System.Diagnostics;
using System.Globalization;
using System.Text;
using Vmm.Assist;
using Vmm.Backends.Disks;
using Vmm.Boot.Unpack;
using Vmm.Devices.Bus;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Net;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;

namespace Vmm.Cli;

/// <summary>What --stats prints at the end of a run.</summary>
internal static class RunStatistics
{
    public static string Format(Machine machine, StartClock clock)
    {
        var text = new StringBuilder();
        Line(text, "time", $"{clock.SinceExec(machine.FirstEntry):0.0} ms from exec to the first guest instruction, "
            + $"{Stopwatch.GetElapsedTime(machine.FirstEntry).TotalSeconds:0.000} s in the guest");
        UnpackReport? unpacked = machine.Loaded?.Unpacked;
        if (machine.Loaded is { } loaded)
        {
            AppendBoot(text, machine.Describing, loaded.Loading, unpacked);
        }

        if (unpacked is { Obstacle: null })
        {
            Line(text, "kernel", $"unpacked by vmm ({unpacked.Compression}, {unpacked.UnpackedSize >> 10} KiB), KASLR "
                + $"{unpacked.Kaslr}: physical 0x{unpacked.PhysicalAddress:x}, virtual offset 0x{unpacked.VirtualOffset:x}");
        }

        AppendExits(text, machine);
        AppendBus(text, machine.Ports);
        AppendBus(text, machine.Mmio);
        AppendDisks(text, machine);
        AppendAssist(text, machine);
        AppendNets(text, machine);
        if (machine.Console is { } console)
        {
            Line(text, "console", $"{console.BytesOut} bytes out, {console.BytesIn} bytes in");
        }

        (long vmm, long guest) = ResidentMemory.Measure(machine.Ram);
        Line(text, "memory", $"{vmm / 1024.0:0.0} MiB resident in vmm, {guest / 1024.0:0.0} MiB of the guest's; "
            + $"{machine.PeakBeforeEntry / 1024.0:0.0} MiB in all at most before the first instruction");
        return text.ToString();
    }

    /// <summary>The time that vmm spends on the work of the kernel's unpacker and of firmware.</summary>
    private static void AppendBoot(StringBuilder text, TimeSpan describing, TimeSpan loading, UnpackReport? unpacked)
    {
        TimeSpan unpacking = unpacked?.Unpacking ?? default;
        TimeSpan relocating = unpacked?.Relocating ?? default;
        TimeSpan rest = describing + loading - unpacking - relocating;
        Line(text, "boot", string.Create(CultureInfo.InvariantCulture,
            $"{(describing + loading).TotalMilliseconds:0.0} ms to load the guest: "
            + $"{unpacking.TotalMilliseconds:0.0} ms unpacking, {relocating.TotalMilliseconds:0.0} ms relocating, "
            + $"{rest.TotalMilliseconds:0.0} ms tables and files"));
    }

    private static void AppendExits(StringBuilder text, Machine machine)
    {
        var counts = new SortedDictionary<int, long>();
        foreach (VcpuThread vcpu in machine.Vcpus)
        {
            ReadOnlySpan<long> ofVcpu = vcpu.Exits.Counts;
            for (int reason = 0; reason < ofVcpu.Length; reason++)
            {
                counts[reason] = counts.GetValueOrDefault(reason) + ofVcpu[reason];
            }
        }

        Line(text, "exits", $"{counts.Values.Sum()} to user space");
        foreach ((int reason, long count) in counts.Where(pair => pair.Value != 0).OrderByDescending(pair => pair.Value))
        {
            string name = ((KvmExitReason)reason).ToString().Replace("KVM_EXIT_", "", StringComparison.Ordinal);
            Line(text, "", $"{count,10} {name}");
        }

        if (machine.PostedWrites != 0)
        {
            Line(text, "posted", $"{machine.PostedWrites} writes to ports without an exit");
        }
    }

    private static void AppendBus(StringBuilder text, AddressBus bus)
    {
        if (bus.Unclaimed == 0 && !bus.Ranges.ToArray().Any(range => range.Accesses != 0))
        {
            return;
        }

        Line(text, bus.Name, "accesses by device");
        foreach (IGrouping<string, BusRange> device in bus.Ranges.ToArray()
            .GroupBy(range => range.Device.Name)
            .OrderByDescending(group => group.Sum(range => range.Accesses)))
        {
            long count = device.Sum(range => range.Accesses);
            if (count != 0)
            {
                Line(text, "", $"{count,10} {device.Key}");
            }
        }

        if (bus.Unclaimed != 0)
        {
            Line(text, "", $"{bus.Unclaimed,10} nobody");
        }
    }

    private static void AppendDisks(StringBuilder text, Machine machine)
    {
        foreach ((VirtioBlock device, OpenDisk disk) in machine.Disks)
        {
            long reads = device.Sent(DiskOperation.Read), writes = device.Sent(DiskOperation.Write);
            long zeroed = device.Sent(DiskOperation.WriteZeroes), discarded = device.Sent(DiskOperation.Discard);
            Line(text, "disk", $"{device.Name}: {reads} reads, {writes} writes, {device.Sent(DiskOperation.Flush)} flushes, "
                + $"{zeroed} ranges zeroed, {discarded} discarded; {disk.Backend.File.Syncs} fdatasync, "
                + $"{disk.Backend.File.DurableWrites} durable writes on the host");
        }
    }

    private static void AppendNets(StringBuilder text, Machine machine)
    {
        foreach (VirtioNet net in machine.Nets)
        {
            Line(text, "network", $"{net.Name}: {net.SentFrames} packets ({net.SentBytes} bytes) sent, {net.SendDropped} dropped; "
                + $"{net.ReceivedFrames} packets ({net.ReceivedBytes} bytes) received, {net.ReceiveDropped} dropped");
        }

        if (machine.Vsock is { } vsock)
        {
            Line(text, "sockets", $"{vsock.Name}: {vsock.Opened} connections; {vsock.SentBytes} bytes sent, "
                + $"{vsock.ReceivedBytes} bytes received");
        }
    }

    private static void AppendAssist(StringBuilder text, Machine machine)
    {
        var counts = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (VcpuAssist assist in machine.Assists)
        {
            foreach ((string name, long count) in assist.Counts)
            {
                counts[name] = counts.GetValueOrDefault(name) + count;
            }
        }

        Line(text, "assisted", $"{counts.Values.Sum()} instructions");
        foreach ((string name, long count) in counts.OrderByDescending(pair => pair.Value))
        {
            Line(text, "", $"{count,10} {name}");
        }
    }

    private static void Line(StringBuilder text, string label, string rest) =>
        text.Append(CultureInfo.InvariantCulture, $"{label,-9}{rest}\n");
}
