using Vmm.Backends.Disks;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots.Forks;

/// <summary>Copies a machine that runs for its forks: it stands still meanwhile, and goes on.</summary>
internal static class ForkWriter
{
    /// <summary>For how long the host may take to finish requests in flight.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <exception cref="UsageException">It is of a kind that cannot be forked; with what to change.</exception>
    public static void Check(MachineSpec spec)
    {
        for (int i = 0; i < spec.Disks.Count; i++)
        {
            DiskSpec disk = spec.Disks[i];
            if (disk.IsOfThisProcess)
            {
                throw new UsageException("a machine whose root vmm has packed into an image cannot be forked: the image is in that vmm alone; "
                    + "make one with 'vmm disk', and give that as root");
            }

            if (!disk.Ephemeral && !disk.ReadOnly && disk.Overlay is null)
            {
                throw new UsageException($"disk {i}, {disk.Path}: the machine writes to it, and so would its forks; start it with "
                    + $"--disk {disk.Path},overlay=FILE, which keeps what it writes there, or with ,ephemeral or ,readonly");
            }
        }

        for (int i = 0; i < spec.Nets.Count; i++)
        {
            if (spec.Nets[i].Mode != Backends.Networks.NetMode.User)
            {
                throw new UsageException($"network card {i}: its {(spec.Nets[i].Mode == Backends.Networks.NetMode.Tap ? "tap interface" : "link")} "
                    + $"{spec.Nets[i].Target} is one machine's only; forks can have cards of --net user");
            }
        }
    }

    /// <summary>What the machines that go on from there are: what they write to a disk is theirs, and gone with them.</summary>
    public static MachineSpec OfForks(MachineSpec spec) => spec with
    {
        Disks = [.. spec.Disks.Select(static disk => disk.Overlay is null ? disk : disk with { Overlay = null, Ephemeral = true })],
    };

    /// <param name="machine">It runs. Not from one of its vCPUs' threads or its loop's; one at a time.</param>
    /// <param name="paths">Of <see cref="ForkFiles"/>.</param>
    /// <exception cref="HostException">The host cannot. The machine goes on.</exception>
    public static ForkReport Write(Machine machine, IReadOnlyList<string> paths)
    {
        List<FileDescriptor> files = [];
        try
        {
            foreach (string path in paths)
            {
                files.Add(FileDescriptor.Open(path, LibC.O_RDWR));
            }

            return Write(machine, files);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"the memory of its forks: {why}");
        }
        finally
        {
            files.ForEach(static file => file.Dispose());
        }
    }

    /// <inheritdoc cref="Write(Machine, IReadOnlyList{string})"/>
    /// <param name="files">As many as <see cref="ForkFiles"/> has, empty.</param>
    public static ForkReport Write(Machine machine, IReadOnlyList<FileDescriptor> files)
    {
        IReadOnlyList<int> overlays = Overlays.Of(OfForks(machine.Spec));
        if (files.Count != 2 + overlays.Count)
        {
            throw new UsageException("arguments.files: takes a file for memory, one for state, and one for each disk with an overlay");
        }

        machine.Ram.Server?.Complete();
        using var standstill = new Standstill(machine, Patience, isPaused: false);
        standstill.Begin();
        byte[] state = StateWriter.Save(machine.State);
        using (Microsoft.Win32.SafeHandles.SafeFileHandle target = files[1].Borrow())
        {
            RandomAccess.Write(target, state, 0);
        }

        for (int i = 0; i < overlays.Count; i++)
        {
            using FileDescriptor? from = Overlays.Open(machine, overlays[i]);
            if (from is not null)
            {
                FileExtents.Copy(from, files[2 + i]);
            }
        }

        using var memory = new MemoryCopy(files[0], machine.Ram);
        memory.CopyAll();
        standstill.End();
        return new ForkReport(standstill.Total, memory.Written);
    }
}

/// <summary>The result of copying a machine for its forks.</summary>
/// <param name="Pause">How long the guest stood still.</param>
/// <param name="MemoryBytes">Bytes of its memory that were copied; the rest is zero.</param>
internal sealed record ForkReport(TimeSpan Pause, ulong MemoryBytes);
