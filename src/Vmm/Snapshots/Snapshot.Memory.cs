using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>Memory of a snapshot, for a machine that is restored from it.</summary>
internal sealed partial class Snapshot
{
    /// <inheritdoc/>
    public FileDescriptor? MapMemory() => _way == MemoryWay.Read ? null : SameMemory();

    /// <inheritdoc/>
    public FileDescriptor? OpenFaults(bool shared)
    {
        if (_way != MemoryWay.Serve)
        {
            return null;
        }

        string obstacle = "other programs map this machine's memory, and their page faults would not be served";
        FileDescriptor? faults = shared ? null : FaultServer.TryOpen(out obstacle);
        if (faults is null)
        {
            Stderr.WriteLine($"vmm: --lazy uffd: {obstacle}; memory is {(shared ? "read whole" : "mapped from the file")} instead");
        }

        return faults;
    }

    /// <inheritdoc/>
    public FaultServer Serve(FileDescriptor faults, nint start, ulong length) =>
        FaultServer.Start(faults, SameMemory(), MemoryPath, start, length, Checksums, "'vmm restore' without --lazy uffd maps it instead");

    /// <inheritdoc/>
    public void ReadMemory(nint start, ulong length)
    {
        try
        {
            MemoryFile.Read(_memory, MemoryPath, start, length, Checksums);
        }
        catch (IOException error)
        {
            throw new HostException($"{MemoryPath}: {FileErrors.Describe(error)}");
        }
    }

    private FileDescriptor SameMemory() => FileDescriptor.Duplicate(_memory.Number, name: MemoryPath);
}
