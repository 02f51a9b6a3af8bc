using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Roots;
using Vmm.Snapshots;

namespace Vmm.Run.Cache;

/// <summary>All that a booted guest depends on, before it is told what to run: two runs with the same key have guests that are alike up
/// to there.</summary>
/// <param name="Text">For comparing: a line for each part.</param>
/// <param name="Origin">The files of it (<see cref="BootOrigin"/>).</param>
internal sealed record BootKey(string Text, string Origin)
{
    /// <summary>A name for a directory; keys that differ may share it.</summary>
    public string Name
    {
        get
        {
            byte[] text = Encoding.UTF8.GetBytes(Text);
            return string.Create(CultureInfo.InvariantCulture, $"{Crc32C.Of(text):x8}{Crc32C.Of([.. text, 1]):x8}");
        }
    }

    /// <summary>Null where a guest depends on what no key can have: what is in another program, or on a disk that it may write to for good.
    /// </summary>
    /// <param name="initramfs">The files that vmm's own is made of.</param>
    /// <param name="words">vmm's own, of the kernel's command line.</param>
    public static BootKey? TryMake(RunOptions options, MachineSpec machine, IReadOnlyList<string> initramfs, IReadOnlyList<string> words)
    {
        bool isOpen = options.Root.Kind is not (RootKind.Busybox or RootKind.Share or RootKind.Disk)
            || machine.ServedDisks.Count > 0 || machine.ServedNets.Count > 0;

        // Who wants to see the kernel boot, or have it told, has it boot.
        if (isOpen || options.ShowConsole || options.Trace is not null || options.HasProfile || SmallFile.BootId is not { } host)
        {
            return null;
        }

        var parts = new Parts();
        if (!parts.TryAddFile("kernel", machine.Kernel) || !machine.Initrds.All(initrd => parts.TryAddFile("initrd", initrd))
            || !initramfs.All(file => parts.TryAddFile("initramfs", file))
            || !TryAddVmm(parts) || !machine.Disks.All(disk => TryAddDisk(parts, disk)))
        {
            return null;
        }

        parts.Add("host", host);
        parts.Add("root", options.HasRoot);
        parts.Add("words", string.Join(' ', words), machine.CommandLine, machine.CommandLineOnly);
        parts.Add("entry", machine.Entry, machine.Unpack, machine.Kaslr);
        parts.Add("processor", machine.Cpus, machine.CpuModel, Vmm.Kvm.HostKinds.Detect());
        parts.Add("memory", machine.Memory, machine.SharesMemory);
        parts.Add("devices", machine.Transport, machine.Rng, machine.Balloon, machine.Packed, machine.Identity);
        parts.Add("vsock", machine.Vsock?.Cid);
        parts.Add("nets", string.Join(' ', machine.Nets.Select(
            (net, i) => OptionWords.Of(net with { Published = [] }, net.Mac ?? MacAddress.Derive(machine.Identity, i)))));
        parts.Add("ports", string.Join(' ', machine.Ports.Select(static port => port.Name)));
        parts.Add("shares", string.Join(' ', machine.Shares.Select(static share => share.Tag)));
        return parts.Complete();
    }

    /// <summary>vmm itself: one of another version is another file. (Processor, clocks and KVM are the same until the host is started
    /// anew, and what was not yet on the disk when it went down is not used.)</summary>
    private static bool TryAddVmm(Parts parts)
    {
        string library = Path.Combine(AppContext.BaseDirectory, "vmm.dll");        // where it is not one file
        return parts.TryAddFile("program", "/proc/self/exe", Environment.ProcessPath)
            && (!HostFile.TryStatus(library, out _) || parts.TryAddFile("library", library));
    }

    /// <summary>A disk that stays as it is, or whose changes are discarded: its guest has some of it in its memory. Its options are those
    /// that the guest sees, and some that it does not.</summary>
    private static bool TryAddDisk(Parts parts, DiskSpec disk)
    {
        bool mayChange = !disk.ReadOnly && !disk.Ephemeral;
        if (mayChange || disk.IsOfThisProcess || disk.Faults != default || !parts.TryAddFile("disk", disk.Path)
            || (disk.Format == DiskFormat.Qcow2 && HasBacking(disk.Path)))
        {
            return false;
        }

        parts.Add("option", OptionWords.Of(disk));
        return true;
    }

    /// <summary>Is part of the image in another file (qcow2's specification: backing_file_offset)?</summary>
    /// <returns>True, too, for what cannot be read.</returns>
    private static bool HasBacking(string path)
    {
        const int Offset = 8, Length = 16;
        Span<byte> head = stackalloc byte[Length];
        return FileHead.Read(path, head) < Length || BinaryPrimitives.ReadUInt64BigEndian(head[Offset..]) != 0;
    }

    private sealed class Parts
    {
        private readonly StringBuilder _text = new();
        private readonly BootOrigin _origin = new();
        private readonly TimeSpan _now = DateTime.UtcNow - DateTime.UnixEpoch;

        public void Add(string name, params ReadOnlySpan<object?> values)
        {
            _text.Append(name);
            foreach (object? value in values)
            {
                string part = Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
                _text.Append(CultureInfo.InvariantCulture, $" {part.Length}:{part}");
            }

            _text.Append('\n');
        }

        /// <param name="known">The name under which others find it.</param>
        /// <returns>False where its content cannot be told from another.</returns>
        public bool TryAddFile(string name, string path, string? known = null)
        {
            if (FileStamp.TryOf(path) is not { } stamp || !stamp.IsSettled(_now))
            {
                return false;
            }

            Add(name, stamp.Text);
            _origin.Add(stamp, known ?? path);
            return true;
        }

        public BootKey Complete() => new(_text.ToString(), _origin.ToString());
    }
}
