using Vmm.Backends.Disks;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Machines;

namespace Vmm.Snapshots.Forks;

/// <summary>The machine from which this process's is forked. What it has was written by the same vmm on the same host a moment ago.
/// </summary>
internal sealed class ForkImage : IRewindTarget, IDisposable
{
    /// <summary>Above the numbers with which descriptors are handed over.</summary>
    private const int Above = 64;

    private readonly List<FileDescriptor> _files;

    /// <param name="files">As <see cref="ForkFiles"/> has them. Owned from now on.</param>
    public ForkImage(ForkNumber number, IReadOnlyList<FileDescriptor> files)
    {
        (Number, _files) = (number, [.. files]);
    }

    /// <inheritdoc/>
    public string Name => "what it was forked from";

    /// <summary>Which of the forks it is.</summary>
    public ForkNumber Number { get; }

    /// <summary>Read each time: it is needed once.</summary>
    public ReadOnlyMemory<byte> State
    {
        get
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = _files[1].Borrow();
            byte[] content = new byte[Math.Min(RandomAccess.GetLength(file), StateReader.MostBytes)];
            return content.AsMemory(0, RandomAccess.Read(file, content, 0));
        }
    }

    /// <summary>Takes over the descriptors that this process was started with.</summary>
    /// <param name="overlays">How many ephemeral disks the machine has.</param>
    public static ForkImage TakeOver(ForkNumber number, int overlays)
    {
        var files = new List<FileDescriptor>();
        for (int i = 0; i < 2 + overlays; i++)
        {
            files.Add(FileDescriptor.TakeOver(ChildProcess.HandedOver + 1 + i, Above));
        }

        return new ForkImage(number, files);
    }

    /// <summary>This machine's own: all forks have the same files open.</summary>
    /// <inheritdoc/>
    public CarriedState CopyOverlays(MachineSpec spec)
    {
        var copies = new CarriedState();
        try
        {
            IReadOnlyList<int> disks = Overlays.Of(spec);
            for (int i = 0; i < disks.Count; i++)
            {
                copies.Overlays[disks[i]] = DiskFiles.CreateNameless();
                FileExtents.Copy(_files[2 + i], copies.Overlays[disks[i]]);
            }

            return copies;
        }
        catch (Exception error)
        {
            copies.Dispose();
            throw FileErrors.Describe(error) is { } why ? new HostException($"a copy of what was written to an ephemeral disk: {why}") : error;
        }
    }

    /// <inheritdoc/>
    public FileDescriptor? MapMemory() => FileDescriptor.Duplicate(_files[0].Number, Above);

    /// <summary>Only for memory that is shared with other programs, which cannot be mapped privately.</summary>
    public void ReadMemory(nint start, ulong length) => MemoryFile.Read(_files[0], "memory", start, length);

    /// <inheritdoc/>
    public void Settle(Machine machine) => machine.ForkPort?.Settle(ForkRequests.InFork(Number.Number, Number.IsAsked));

    /// <inheritdoc/>
    public ulong PutBack(GuestRam ram, PageSet? written)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle file = _files[0].Borrow();
        return MemoryFile.PutBack(
            ram, written, static _ => true, (index, chunk) => MemoryFile.Fill(file, Name, chunk, (ulong)index * MemoryChecksums.ChunkBytes));
    }

    /// <inheritdoc/>
    public void CheckHost(Vcpu vcpu, KvmSystem kvm)
    {
        // It is the same host.
    }

    public void Dispose() => _files.ForEach(static file => file.Dispose());
}

/// <summary>What a fork is told on its command line.</summary>
/// <param name="Number">Which of the forks that were made at once it is, from 1.</param>
/// <param name="IsAsked">The guest itself asked for it.</param>
internal readonly record struct ForkNumber(int Number, bool IsAsked = false)
{
    private const string Asked = ",asked";

    public static ForkNumber Parse(string text) => new(
        int.Parse(text.Replace(Asked, "", StringComparison.Ordinal), System.Globalization.CultureInfo.InvariantCulture),
        text.EndsWith(Asked, StringComparison.Ordinal));

    public override string ToString() => string.Create(
        System.Globalization.CultureInfo.InvariantCulture, $"{Number}{(IsAsked ? Asked : "")}");
}
