using Vmm.Backends.VhostUser;
using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Machines;

/// <summary>The guest's memory: one mapping of this process, shown to the guest below and above the hole.</summary>
internal sealed class GuestRam : IBalloonMemory, IDisposable
{
    // Bytes from address 0 on without huge pages: firmware tables, boot parameters and small guests lie there, few bytes in
    // each 2 MiB. Linux is linked to run at 16 MiB, or loaded above.
    private const ulong SmallPages = 16 << 20;

    private readonly AnonymousMemory _mapping;
    private WriteTracker? _tracker;
    private PageSet? _released;     // pages given back to the host, where memory is mapped from a file
    private bool _isGivenAway;

    /// <param name="size">Bytes, as --mem gives it.</param>
    /// <param name="shared">Other processes can map it.</param>
    /// <param name="saved">Gives the memory's content; null for zeros.</param>
    /// <exception cref="HostException">The host does not have that much memory.</exception>
    /// <exception cref="UsageException">What was saved is damaged.</exception>
    public GuestRam(ulong size, bool shared = false, ISavedMachine? saved = null)
    {
        CheckAgainstHost(size);
        FileDescriptor? faults = saved?.OpenFaults(shared);
        FileDescriptor? content = shared || faults is not null ? null : saved?.MapMemory();
        _mapping = new AnonymousMemory(size, "give less --mem", shared, content);
        _mapping.WantHugePages(from: SmallPages);
        if (saved is not null && content is null)
        {
            Fill(saved, faults, size);
        }

        (ulong low, ulong high) = Layout.SplitMemory(size);
        var below = new GuestRegion(new GuestAddress(0), low, _mapping.Start);
        Memory = high == 0
            ? new GuestMemory(below)
            : new GuestMemory(
                below, new GuestRegion(new GuestAddress(Layout.FourGib), high, _mapping.Start + (nint)low));
    }

    public GuestMemory Memory { get; }

    /// <summary>The memory as programs that serve devices map it. Only for shared memory. They may write to it from now on.</summary>
    public MemoryTable ToMemoryTable()
    {
        _isGivenAway = true;
        return new(Memory, _mapping.Shared ?? throw new InvalidOperationException("the guest's memory is not shared"), _mapping.Start);
    }

    /// <summary>The memory as a file; null where it is private to this process.</summary>
    public FileDescriptor? Shared => _mapping.Shared;

    /// <summary>The file with the initial content, which pages that were never written still show; null for zeros.</summary>
    public FileDescriptor? Content => _mapping.Content;

    /// <summary>Loads saved memory page by page; null where all of it was read, or is mapped from the file.</summary>
    public FaultServer? Server { get; private set; }

    /// <summary>Start of the mapping in this process.</summary>
    public nint HostStart => _mapping.Start;

    /// <summary>Is it recorded which pages are written to?</summary>
    public bool IsTracked => _tracker is not null;

    /// <summary>Begins to record which pages are written to; each costs a page fault the first time. While the machine is quiesced.
    /// </summary>
    /// <returns>Null on success, also if it was recorded already; else why the host cannot, for the user.</returns>
    public string? TrackWrites()
    {
        if (_isGivenAway)
        {
            return "the programs that serve its shared directories write to its memory, too, which the kernel does not tell";
        }

        string obstacle = "";
        _tracker ??= WriteTracker.TryStart(_mapping.Start, Memory.Size, out obstacle);
        return _tracker is null ? obstacle : null;
    }

    /// <inheritdoc cref="WriteTracker.Collect"/>
    public void CollectWritten(PageSet pages) => _tracker!.Collect(pages);

    /// <summary>Resets all memory to <see cref="Content"/>, by dropping pages that were written to or given back. While the machine is
    /// quiesced.</summary>
    /// <returns>How many pages were reset; null, with nothing changed, where the host does not report which.</returns>
    /// <exception cref="ErrnoException">The host refused; some pages were reset.</exception>
    public ulong? Revert()
    {
        var own = new PageSet(Memory.Size);
        if (!PageMap.TryFind(HostStart, own.Pages, ownOnly: true, page => own.Add(page)))
        {
            return null;
        }

        foreach ((ulong first, ulong count) in own.Runs())
        {
            _mapping.Revert(first * PageSet.PageBytes, count * PageSet.PageBytes, wasDiscarded: false);
        }

        foreach ((ulong first, ulong count) in _released?.Runs() ?? [])
        {
            own.Add(first, count);
            _mapping.Revert(first * PageSet.PageBytes, count * PageSet.PageBytes, wasDiscarded: true);
            _tracker?.Discarded(HostStart + (nint)(first * PageSet.PageBytes), count * PageSet.PageBytes);
        }

        _released = null;
        return own.Count;
    }

    /// <inheritdoc/>
    public bool Release(nint address, nuint length)
    {
        bool isDone = Server?.Discard(address, length) ?? _mapping.Discard(address, length);
        if (Content is not null)
        {
            _released ??= new PageSet(Memory.Size);
            _released.Add((ulong)(address - HostStart) / PageSet.PageBytes, length / PageSet.PageBytes);
        }

        _tracker?.Discarded(address, length);
        return isDone;
    }

    public void Dispose()
    {
        _tracker?.Dispose();
        Server?.Dispose();
        _mapping.Dispose();
    }

    private void Fill(ISavedMachine saved, FileDescriptor? faults, ulong size)
    {
        try
        {
            if (faults is not null)
            {
                Server = saved.Serve(faults, _mapping.Start, size);
            }
            else
            {
                saved.ReadMemory(_mapping.Start, size);
            }
        }
        catch
        {
            _mapping.Dispose();
            throw;
        }
    }

    /// <summary>Linux allocates memory lazily, so it would grant any amount and kill some process later.</summary>
    private static unsafe void CheckAgainstHost(ulong size)
    {
        SystemInformation host;

        // SAFETY: a struct on this stack, with the layout of glibc's struct sysinfo (LibCTests).
        ErrnoException.Check(LibC.sysinfo(&host), "sysinfo");
        ulong total = (host.TotalRam + host.TotalSwap) * host.MemoryUnit;
        if (size > total)
        {
            throw new UsageException(
                $"--mem {ByteSize.Format(size)}: this host has {total >> 20}M with swap; give less");
        }
    }
}
