using System.Globalization;
using Vmm.Backends.Disks;
using Vmm.Host;

namespace Vmm.Snapshots.Forks;

/// <summary>What the forks of a machine begin with, in files without names: they are gone when the last process that has them open is,
/// however it ends. Memory first, then all other state, then the overlay of each disk that has one.</summary>
internal sealed class ForkFiles : IDisposable
{
    private readonly List<FileDescriptor> _files = [];

    /// <param name="overlays">How many ephemeral disks the machine has.</param>
    /// <exception cref="ErrnoException">The host has no memory or descriptors left.</exception>
    public static ForkFiles Create(int overlays)
    {
        var files = new ForkFiles();
        try
        {
            files._files.Add(InMemory("vmm-fork-memory"u8));
            files._files.Add(InMemory("vmm-fork-state"u8));
            for (int i = 0; i < overlays; i++)
            {
                files._files.Add(DiskFiles.CreateNameless());
            }

            return files;
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>Their numbers in this process.</summary>
    public IReadOnlyList<int> Descriptors => [.. _files.Select(static file => file.Number)];

    /// <summary>Paths by which another process of the same user opens them while this one has them.</summary>
    public IReadOnlyList<string> Paths =>
        [.. _files.Select(static file => string.Create(CultureInfo.InvariantCulture, $"/proc/{Environment.ProcessId}/fd/{file.Number}"))];

    /// <summary>They are written: from now on nobody changes what forks have mapped.</summary>
    public void Seal()
    {
        for (int i = 0; i < 2; i++)
        {
            ErrnoException.Check(
                LibC.fcntl(_files[i].Number, LibC.F_ADD_SEALS, LibC.F_SEAL_SEAL | LibC.F_SEAL_SHRINK | LibC.F_SEAL_GROW | LibC.F_SEAL_WRITE),
                "fcntl(F_ADD_SEALS)");
        }
    }

    public void Dispose() => _files.ForEach(static file => file.Dispose());

    private static FileDescriptor InMemory(ReadOnlySpan<byte> name) =>
        new(ErrnoException.Check(LibC.memfd_create(name, LibC.MFD_CLOEXEC | LibC.MFD_ALLOW_SEALING), "memfd_create"));
}
