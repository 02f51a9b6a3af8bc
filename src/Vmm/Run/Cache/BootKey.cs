using System.Globalization;
using System.Reflection;
using System.Text;
using Vmm.Backends.Networks;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Roots;
using Vmm.Snapshots;

namespace Vmm.Run.Cache;

/// <summary>All that a booted guest depends on, before it is told what to run: two runs with the same key have guests that are alike up
/// to there.</summary>
/// <param name="Text">For comparing: a line for each part.</param>
internal sealed record BootKey(string Text)
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

    /// <summary>Null where a guest depends on what no key can have: what is on a disk, or in another program.</summary>
    /// <param name="initramfs">vmm's own.</param>
    /// <param name="words">vmm's own, of the kernel's command line.</param>
    public static BootKey? TryMake(RunOptions options, MachineSpec machine, ReadOnlyMemory<byte> initramfs, IReadOnlyList<string> words)
    {
        bool isOpen = options.Root.Kind is not (RootKind.Busybox or RootKind.Share) || machine.Disks.Count > 0
            || machine.ServedDisks.Count > 0 || machine.ServedNets.Count > 0;

        // Who wants to see the kernel boot, or have it told, has it boot.
        if (isOpen || options.ShowConsole || options.Trace is not null || options.HasProfile)
        {
            return null;
        }

        var text = new StringBuilder();
        if (!TryAddFile(text, "kernel", machine.Kernel) || !machine.Initrds.All(initrd => TryAddFile(text, "initrd", initrd)) || !TryAddVmm(text))
        {
            return null;
        }

        Add(text, "initramfs", initramfs.Length, Crc32C.Of(initramfs.Span));
        Add(text, "words", string.Join(' ', words), machine.CommandLine, machine.CommandLineOnly);
        Add(text, "entry", machine.Entry, machine.Unpack, machine.Kaslr);
        Add(text, "processor", machine.Cpus, machine.CpuModel, Vmm.Kvm.HostKinds.Detect());
        Add(text, "memory", machine.Memory, machine.SharesMemory);
        Add(text, "devices", machine.Transport, machine.Rng, machine.Balloon, machine.Packed, machine.Identity);
        Add(text, "vsock", machine.Vsock?.Cid);
        Add(text, "nets", string.Join(' ', machine.Nets.Select(
            (net, i) => OptionWords.Of(net with { Published = [] }, net.Mac ?? MacAddress.Derive(machine.Identity, i)))));
        Add(text, "ports", string.Join(' ', machine.Ports.Select(static port => port.Name)));
        Add(text, "shares", string.Join(' ', machine.Shares.Select(static share => share.Tag)));
        return new BootKey(text.ToString());
    }

    /// <summary>vmm itself, and the host since it was started: processor, clocks and KVM are the same as long, and what was not yet on
    /// the disk when the host went down is not used.</summary>
    private static bool TryAddVmm(StringBuilder text)
    {
        string version = typeof(BootKey).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "";
        Add(text, "vmm", version);
        string? boot = ReadLine("/proc/sys/kernel/random/boot_id");
        Add(text, "host", boot);
        string library = Path.Combine(AppContext.BaseDirectory, "vmm.dll");        // where it is not one file
        return boot is not null && TryAddFile(text, "program", "/proc/self/exe") && (!HostFile.TryStatus(library, out _) || TryAddFile(text, "library", library));
    }

    private static string? ReadLine(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static bool TryAddFile(StringBuilder text, string name, string path)
    {
        if (FileIdentity.TryOfRegular(path) is not { } file)
        {
            return false;
        }

        Add(text, name, file.DeviceMajor, file.DeviceMinor, file.Inode, file.Size, file.Seconds, file.Nanoseconds);
        return true;
    }

    private static void Add(StringBuilder text, string name, params ReadOnlySpan<object?> values)
    {
        text.Append(name);
        foreach (object? value in values)
        {
            string part = Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
            text.Append(CultureInfo.InvariantCulture, $" {part.Length}:{part}");
        }

        text.Append('\n');
    }
}
