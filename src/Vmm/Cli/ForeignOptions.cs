using Vmm.Text;

namespace Vmm.Cli;

/// <summary>Options of QEMU and other virtual machine monitors, of virtme-ng and Docker, and the corresponding ones of vmm.</summary>
/// <remarks>Used only for error messages, when vmm has no option of that name.</remarks>
internal static class ForeignOptions
{
    private const string Terminal = "leave it out: the guest's console is this terminal";
    private const string Kvm = "leave it out: vmm is one kind of machine, and always uses KVM";
    private const string Command = "the command goes behind --";
    private const string Firmware = "vmm has no firmware: give the kernel, --kernel FILE";

    /// <param name="name">With its dashes.</param>
    /// <param name="value">Its value; null for none.</param>
    /// <returns>The rest of an error: <c>; vmm's is ...</c>; null for an option that is not known.</returns>
    public static string? Find(string name, string? value)
    {
        bool isQemu = name is ['-', not '-', ..];
        string given = value is null or ['-', ..] ? "" : value;
        string? own = name.TrimStart('-') switch
        {
            "kernel" or "run" or "r" => Own("--kernel", given, "FILE"),
            "initrd" or "ramdisk" or "initramfs" => Own("--initrd", given, "FILE"),
            "append" or "kopt" or "params" or "kernel-cmdline" or "boot-args" => Own("--cmdline", given, "TEXT"),
            "smp" or "vcpus" or "cores" => Own("--cpus", CpuCount(given), "N"),
            "memory" or "ram" => Own("--mem", Value(given, "size") ?? given, "SIZE"),
            "cpu" => Own("--cpu", given, "MODEL"),
            "drive" or "blockdev" or "image" or "rwdisk" or "hda" or "hdb" or "hdc" or "hdd" or "sda" =>
                Own("--disk", Disk(given), "PATH"),
            "disk" => Own("--disk", given, "PATH"),
            "cdrom" or "rodisk" => Own("--disk", given.Length == 0 ? "" : given + ",readonly", "PATH,readonly"),
            "snapshot" => "vmm's is ',ephemeral' behind a disk: --disk PATH,ephemeral",
            "net" or "netdev" or "nic" or "network" => Own("--net", Net(given), "user"),
            "name" => Own("--name", given, "NAME"),
            "device" => Device(given),
            "nographic" or "serial" or "console" or "display" or "vga" or "curses" or "monitor" or "chardev" or "mon" => Terminal,
            "enable-kvm" or "accel" or "machine" or "M" or "no-acpi" or "no-hpet" => Kvm,
            "no-reboot" => "leave it out: vmm ends when the guest reboots",
            "bios" or "pflash" or "firmware" => Firmware,
            "daemonize" or "daemon" => "vmm stays in the foreground: put '&' behind it, or use systemd-run",
            "rwdir" or "rodir" => Own("--share", Directory(given, name.EndsWith("rwdir", StringComparison.Ordinal)), "HOST:GUEST[,rw]"),
            "volume" => Own("--share", Volume(given), "HOST:GUEST[,rw]"),
            "mount" => Own("--share", Mount(given), "HOST:GUEST[,rw]"),
            "publish" => Own("--net", given.Length == 0 ? "" : $"user,publish={given}", "user,publish=PORT"),
            "exec" or "entrypoint" => Command,
            "pwd" => "leave it out: the command starts in this directory",
            "rm" => "leave it out: nothing of the machine stays",
            "privileged" => "leave it out: the command is root of a machine of its own",
            "version" => "did you mean '--version'?",
            _ => null,
        };
        string whose = isQemu && name.Length > 2 ? ", which is QEMU's" : "";
        return own is null ? null : $"{whose}; {own}";
    }

    private static string Own(string option, string value, string example) =>
        $"vmm's is: {option} {(value.Length == 0 ? example : ShellWord.Quote(value))}";

    private static string CpuCount(string value) => Value(value, "cpus") ?? Value(value, "boot") ?? value.Split(',')[0];

    private static string Disk(string value)
    {
        string path = Value(value, "file") ?? Value(value, "path") ?? Value(value, "filename") ?? value.Split(',')[0];
        string format = Value(value, "format") is "qcow2" or "raw" ? $",format={Value(value, "format")}" : "";
        string readOnly = Value(value, "readonly") is "on" || Value(value, "read-only") is "on" ? ",readonly" : "";
        return path.Length == 0 ? "" : path + format + readOnly;
    }

    /// <summary>DIR, or GUEST=HOST, as virtme-ng has it.</summary>
    private static string Directory(string value, bool isWritable)
    {
        string[] parts = value.Split('=', 2);
        string host = parts[^1], guest = Path.GetFullPath(parts[0].Length == 0 ? "." : parts[0]);
        return host.Length == 0 ? "" : $"{host}:{guest}{(isWritable ? ",rw" : "")}";
    }

    /// <summary>HOST:GUEST[:ro], of Docker: who says nothing may write.</summary>
    private static string Volume(string value)
    {
        string[] parts = value.Split(':');
        return parts.Length < 2 ? "" : $"{parts[0]}:{parts[1]}{(parts.Length > 2 && parts[2].Contains("ro", StringComparison.Ordinal) ? "" : ",rw")}";
    }

    private static string Mount(string value) =>
        (Value(value, "source") ?? Value(value, "src")) is { } host && (Value(value, "target") ?? Value(value, "dst") ?? Value(value, "destination")) is { } guest
            ? $"{host}:{guest}{(value.Contains("readonly", StringComparison.Ordinal) ? "" : ",rw")}"
            : "";

    private static string Net(string value) =>
        value.StartsWith("tap", StringComparison.Ordinal) && Value(value, "ifname") is { } tap ? $"tap={tap}" : "user";

    private static string Device(string value) => value switch
    {
        _ when value.Contains("rng", StringComparison.Ordinal) => "vmm's is: --rng",
        _ when value.Contains("vsock", StringComparison.Ordinal) => "vmm's is: --vsock PATH",
        _ when value.Contains("net", StringComparison.Ordinal) || value.StartsWith("e1000", StringComparison.Ordinal) =>
            "vmm's is: --net user",
        _ when value.Contains("blk", StringComparison.Ordinal) || value.Contains("scsi", StringComparison.Ordinal) =>
            "vmm's is: --disk PATH",
        _ when value.Contains("balloon", StringComparison.Ordinal) => "vmm's is: --balloon",
        _ => "vmm's devices are --disk, --net, --vsock and --rng",
    };

    /// <summary>The value of <c>name=</c> in a list separated by commas.</summary>
    private static string? Value(string text, string name)
    {
        foreach (string part in text.Split(','))
        {
            if (part.StartsWith(name + "=", StringComparison.Ordinal))
            {
                return part[(name.Length + 1)..];
            }
        }

        return null;
    }
}
