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
    private static readonly byte[] Initramfs = [1, 2, 3];
    private static readonly string[] Words = ["rdinit=/vmm/agent"];

    private readonly string _kernel = Path.GetTempFileName();

    private MachineSpec Machine => new() { Kernel = _kernel };

    public void Dispose() => File.Delete(_kernel);

    [Fact]
    public void Each_part_that_changes_makes_another_key()
    {
        BootKey key = Key(Machine)!;
        Assert.Equal(key, Key(Machine));
        string other = Path.GetTempFileName();
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
            Machine with { Shares = [ShareSpec.Parse("/a:/b,tag=one")] },
            Machine with { Shares = [ShareSpec.Parse("/a:/b,tag=two")] },
        ];
        var keys = new List<BootKey?> { key };
        keys.AddRange(others.Select(spec => Key(spec)));
        keys.Add(BootKey.TryMake(Options(Machine), Machine, new byte[] { 1, 2, 4 }, Words));
        keys.Add(BootKey.TryMake(Options(Machine), Machine, Initramfs, ["rdinit=/other"]));
        File.WriteAllText(_kernel, "another kernel");
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
            Machine, Initramfs, Words));

    [Fact]
    public void What_no_key_can_hold_has_none()
    {
        Assert.Null(Key(Machine with { Kernel = "/nowhere" }));
        Assert.Null(Key(Machine with { Kernel = "/" }));
        Assert.Null(Key(Machine with { Disks = [DiskSpec.Parse("/tmp/disk.img")] }));
        Assert.Null(Key(Machine with { ServedDisks = ["/tmp/s"] }));
        Assert.Null(Key(Machine with { ServedNets = ["/tmp/s"] }));
        Assert.Null(BootKey.TryMake(Options(Machine) with { ShowConsole = true }, Machine, Initramfs, Words));
        Assert.Null(BootKey.TryMake(Options(Machine) with { HasProfile = true }, Machine, Initramfs, Words));
        Assert.Null(BootKey.TryMake(Options(Machine) with { Trace = "t" }, Machine, Initramfs, Words));
    }

    private static BootKey? Key(MachineSpec machine) => BootKey.TryMake(Options(machine), machine, Initramfs, Words);

    private static RunOptions Options(MachineSpec machine) =>
        new() { Machine = machine, Command = ["true"], Root = new RunRoot(RootKind.Busybox) };
}
