using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Boot;
using Vmm.Machines;
using Vmm.Run;
using Vmm.Run.Cache;
using Vmm.Run.Roots;

namespace Vmm.Tests.Run;

/// <summary>What makes two runs' guests alike until they are told what to run.</summary>
public sealed class BootKeyTests : IDisposable
{
    private static readonly string[] Words = ["rdinit=/vmm/agent"];

    private readonly string _kernel = OldFile(), _disk = OldFile(), _busybox = OldFile();

    private MachineSpec Machine => new() { Kernel = _kernel };

    public void Dispose()
    {
        File.Delete(_kernel);
        File.Delete(_disk);
        File.Delete(_busybox);
    }

    [Fact]
    public void Each_part_that_changes_makes_another_key()
    {
        BootKey key = Key(Machine)!;
        Assert.Equal(key, Key(Machine));
        string other = OldFile();
        MachineSpec[] others =
        [
            Machine with { Kernel = other },
            Machine with { Initrds = [other] },
            Machine with { CommandLine = "quiet" },
            Machine with { CommandLine = "quiet", CommandLineOnly = true },
            Machine with { Memory = 128UL << 20 },
            Machine with { WantsSharedMemory = true },
            Machine with { Cpus = 2 },
            Machine with { CpuModel = CpuModel.Parse("host,-avx512f") },
            Machine with { Transport = Transport.Mmio },
            Machine with { Rng = true },
            Machine with { Balloon = true },
            Machine with { Packed = true },
            Machine with { Name = "other" },
            Machine with { Kaslr = false },
            Machine with { Unpack = false },
            Machine with { Vsock = VsockSpec.Parse("/tmp/v") },
            Machine with { Vsock = VsockSpec.Parse("/tmp/v,cid=9") },
            Machine with { Nets = [NetSpec.Parse("tap=t0")] },
            Machine with { Nets = [NetSpec.Parse("tap=t0"), NetSpec.Parse("tap=t1")] },
            Machine with { Disks = [DiskSpec.Parse($"{_disk},ephemeral")] },
            Machine with { Disks = [DiskSpec.Parse($"{_disk},readonly")] },
            Machine with { Disks = [DiskSpec.Parse($"{_disk},ephemeral,serial=other")] },
            Machine with { Disks = [DiskSpec.Parse($"{_disk},ephemeral,queues=2")] },
            Machine with { Disks = [DiskSpec.Parse($"{_disk},ephemeral,blocksize=4096")] },
            Machine with { Disks = [DiskSpec.Parse($"{_disk},ephemeral"), DiskSpec.Parse($"{_kernel},readonly")] },
            Machine with { Disks = [DiskSpec.Parse($"{_kernel},readonly"), DiskSpec.Parse($"{_disk},ephemeral")] },
            Machine with { Shares = [ShareSpec.Parse("/a:/b,tag=one")] },
            Machine with { Shares = [ShareSpec.Parse("/a:/b,tag=two")] },
        ];
        var keys = new List<BootKey?> { key };
        keys.AddRange(others.Select(spec => Key(spec)));
        keys.Add(BootKey.TryMake(Options(Machine), Machine, [_busybox, other], Words));
        keys.Add(BootKey.TryMake(Options(Machine), Machine, [other], Words));
        keys.Add(BootKey.TryMake(Options(Machine) with { Root = new RunRoot(RootKind.Share, "/") }, Machine, [_busybox], Words));
        keys.Add(BootKey.TryMake(Options(Machine), Machine, [_busybox], ["rdinit=/other"]));
        File.WriteAllText(_kernel, "another kernel");
        Thread.Sleep(50);
        keys.Add(Key(Machine));
        Assert.DoesNotContain(null, keys);
        Assert.Equal(keys.Count, keys.Distinct().Count());
        Assert.Equal(keys.Count, keys.Select(static each => each!.Name).Distinct().Count());
        File.Delete(other);
    }

    /// <summary>What the command is told only when it starts.</summary>
    [Fact]
    public void What_is_said_after_the_boot_is_no_part_of_it() => Assert.Equal(
        Key(Machine),
        BootKey.TryMake(
            Options(Machine) with { Command = ["other"], Hostname = "x", Environment = ["A=1"], Directory = "/tmp", User = "nobody" },
            Machine, [_busybox], Words));

    [Fact]
    public void What_no_key_can_hold_has_none()
    {
        Assert.Null(Key(Machine with { Kernel = "/nowhere" }));
        Assert.Null(Key(Machine with { Kernel = "/" }));
        Assert.Null(BootKey.TryMake(Options(Machine), Machine, ["/nowhere"], Words));
        Assert.Null(Key(Machine with { Disks = [DiskSpec.Parse("/nowhere/disk.img,ephemeral")] }));
        Assert.Null(Key(Machine with { Disks = [DiskSpec.Parse(_disk)] }));
        Assert.Null(Key(Machine with { Disks = [DiskSpec.Parse($"{_disk},overlay={_disk}.qcow2")] }));
        Assert.Null(Key(Machine with { Disks = [DiskSpec.Parse($"{_disk},ephemeral,fault=eio@0.5")] }));
        Assert.Null(Key(Machine with { Disks = [DiskSpec.Parse("/dev/null,readonly")] }));
        Assert.Null(Key(Machine with { Disks = [DiskSpec.Parse("/proc/self/fd/7,readonly")] }));
        Assert.Null(Key(Machine with { ServedDisks = ["/tmp/s"] }));
        Assert.Null(Key(Machine with { ServedNets = ["/tmp/s"] }));
        Assert.Null(BootKey.TryMake(Options(Machine) with { ShowConsole = true }, Machine, [_busybox], Words));
        Assert.Null(BootKey.TryMake(Options(Machine) with { HasProfile = true }, Machine, [_busybox], Words));
        Assert.Null(BootKey.TryMake(Options(Machine) with { Trace = "t" }, Machine, [_busybox], Words));
    }

    /// <summary>Another inode, length or time is another disk, whatever is in it.</summary>
    [Fact]
    public void A_disk_that_changes_makes_another_key()
    {
        MachineSpec machine = Machine with { Disks = [DiskSpec.Parse($"{_disk},ephemeral")] };
        var keys = new List<BootKey> { Key(machine)! };
        Action[] changes =
        [
            () => File.WriteAllText(_disk, "other"),
            () => File.AppendAllText(_disk, "longer"),
            () => File.SetLastWriteTimeUtc(_disk, DateTime.UtcNow - TimeSpan.FromDays(1)),
            () =>
            {
                File.Copy(_disk, $"{_disk}.copy");
                File.SetLastWriteTimeUtc($"{_disk}.copy", File.GetLastWriteTimeUtc(_disk));
                File.Move($"{_disk}.copy", _disk, overwrite: true);
            },
        ];
        foreach (Action change in changes)
        {
            change();
            Thread.Sleep(50);       // until its time is settled
            Assert.Equal(Key(machine), Key(machine));
            keys.Add(Key(machine)!);
        }

        Assert.Equal(keys.Count, keys.Distinct().Count());
        File.AppendAllText(_disk, "a moment ago");
        Assert.Null(Key(machine));
    }

    /// <summary>A backing file is part of it, and not of the key.</summary>
    [Fact]
    public void An_image_with_a_backing_file_has_none()
    {
        string image = Path.Combine(Path.GetTempPath(), $"{Path.GetRandomFileName()}.qcow2");
        MachineSpec machine = Machine with { Disks = [DiskSpec.Parse($"{image},ephemeral")] };
        byte[] head = new byte[512];
        ((byte[])[0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]).CopyTo(head, 0);
        File.WriteAllBytes(image, head);
        Thread.Sleep(50);
        Assert.NotNull(Key(machine));
        head[14] = 2;
        File.WriteAllBytes(image, head);
        Thread.Sleep(50);
        Assert.Null(Key(machine));
        File.WriteAllBytes(image, head[..8]);
        Thread.Sleep(50);
        Assert.Null(Key(machine));
        File.Delete(image);
    }

    /// <summary>A new property of a machine has to be thought of: it is in the key, comes after the boot, or has the machine boot.</summary>
    [Fact]
    public void Each_property_of_a_machine_is_thought_of()
    {
        string[] inKey =
        [
            "Kernel", "Initrds", "CommandLine", "CommandLineOnly", "Memory", "Cpus", "Disks", "Nets", "Vsock", "Ports", "Shares", "WantsSharedMemory",
            "SharesMemory", "HasOtherPrograms", "Identity", "Name", "Rng", "Balloon", "Packed", "Transport", "CpuModel", "Entry", "Unpack", "Kaslr",
        ];
        string[] bootsAnyway = ["ServedDisks", "ServedNets", "Control", "MostForks"];     // the last two: in RunCommand, with --control and --detach
        string[] notSeenByTheGuest = ["OnReboot", "StopTimeout", "Stats", "Console"];     // vmm run has the console on COM1
        Assert.Equal(
            typeof(MachineSpec).GetProperties(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Instance).Select(static each => each.Name).Order(),
            inKey.Concat(bootsAnyway).Concat(notSeenByTheGuest).Order());
    }

    /// <summary>One whose time was some time ago.</summary>
    private static string OldFile()
    {
        string path = Path.GetTempFileName();
        Thread.Sleep(50);
        return path;
    }

    private BootKey? Key(MachineSpec machine) => BootKey.TryMake(Options(machine), machine, [_busybox], Words);

    private static RunOptions Options(MachineSpec machine) =>
        new() { Machine = machine, Command = ["true"], Root = new RunRoot(RootKind.Busybox) };
}
