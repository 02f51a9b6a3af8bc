using Iced.Intel;
using Vmm.Backends.Disks;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Snapshots;

/// <summary>A snapshot has paths in it: none of them may lead to what is another machine's (fcvm 608).</summary>
[Collection(Alone.Name)]
public sealed class SiblingTests : IDisposable
{
    private const ulong Ready = 0x20_0000;

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-sibling-").FullName;
    private readonly TestGuest _guest = new(static code =>
    {
        code.mov(rdi, Ready);
        code.inc(__qword_ptr[rdi]);
        code.HaltForEver();
    });

    private string Saved => Path.Combine(_folder, "snap");

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>The same name, length and time, as copies of one image have them: another file all the same.</summary>
    [KvmFact]
    public void A_siblings_disk_under_the_same_name_is_refused()
    {
        string disk = Path.Combine(_folder, "disk.img"), sibling = Path.Combine(_folder, "sibling.img");
        foreach (string image in (string[])[disk, sibling])
        {
            File.WriteAllBytes(image, new byte[1 << 20]);
            File.SetLastWriteTimeUtc(image, DateTime.UnixEpoch.AddYears(50));       // the same to the nanosecond
        }

        Save($"{disk},readonly");
        Restore().Dispose();
        File.Move(disk, disk + ".away");
        File.Move(sibling, disk);
        UsageException error = Assert.Throws<UsageException>(() => Restore().Dispose());
        Assert.Contains($"disk 0, {disk}: is missing, another file, or was written to", error.Message, StringComparison.Ordinal);
        File.Move(disk + ".away", disk, overwrite: true);
        Restore().Dispose();
    }

    /// <summary>What belongs to a snapshot is found beside it, wherever it is now, and not where it was.</summary>
    [KvmFact]
    public void A_snapshot_that_was_moved_takes_nothing_of_the_one_that_is_in_its_place()
    {
        string disk = Path.Combine(_folder, "disk.img"), moved = Path.Combine(_folder, "moved");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        Save($"{disk},ephemeral");
        byte[] overlay = File.ReadAllBytes(Path.Combine(Saved, "disk0.qcow2"));
        Directory.Move(Saved, moved);
        Save($"{disk},ephemeral");
        File.WriteAllText(Path.Combine(Saved, "disk0.qcow2"), "of another machine");
        using Snapshot snapshot = Snapshot.Open(moved);
        using Machine machine = snapshot.Restore(new Replacements());
        using FileDescriptor copy = Assert.IsType<HostFile>(machine.Disks[0].Disk.Backend.File).Duplicate();
        using Microsoft.Win32.SafeHandles.SafeFileHandle content = copy.Borrow();
        byte[] own = new byte[overlay.Length];
        Assert.Equal(overlay.Length, RandomAccess.Read(content, own, 0));
        Assert.Equal(overlay, own);
    }

    private void Save(string disk)
    {
        using Machine machine = Machine.Build(new MachineSpec { Kernel = _guest.Path, Memory = 32UL << 20, Disks = [DiskSpec.Parse(disk)] });
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Ready, 1);
        SnapshotWriter.Write(machine, Saved, "0.1.0", new SnapshotOptions { Ends = true });
        run.WaitForEnd();
    }

    private Machine Restore()
    {
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWay.Read);
        return snapshot.Restore(new Replacements());
    }
}
