using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>What all disks of the host have in common: completions are collected and delivered many at once.</summary>
internal abstract class DiskNode : IDiskBackend, IDisposable
{
    private IDiskCompletions? _completions;
    private DiskCompletion[] _collected = new DiskCompletion[16];
    private DiskCompletion[] _delivered = new DiskCompletion[16];
    private int _count;
    private bool _delivering;

    public abstract ulong Length { get; }

    public abstract bool IsReadOnly { get; }

    public abstract bool CanDiscard { get; }

    public abstract bool CanWriteZeroes { get; }

    /// <summary>The file that changes go to; for statistics.</summary>
    public abstract BlockFile File { get; }

    public void Attach(IDiskCompletions completions) => _completions = completions;

    public abstract void Enqueue(in DiskRequest request);

    public abstract void Submit();

    /// <summary>Makes the disk longer, durably; the new part reads as zero. On the event loop's thread, which waits for
    /// that.</summary>
    /// <param name="length">Bytes; more than <see cref="Length"/>, a multiple of 512.</param>
    /// <returns>Null, or why it is not possible; nothing has changed then.</returns>
    public abstract string? Grow(ulong length);

    /// <summary>Delivers the collected completions. Not from within <see cref="Enqueue"/>.</summary>
    public void Deliver()
    {
        if (_delivering)
        {
            return;     // the loop below goes on with it
        }

        _delivering = true;
        while (_count > 0)
        {
            int count = _count;
            _count = 0;
            (_collected, _delivered) = (_delivered, _collected);
            _completions!.Completed(_delivered.AsSpan(0, count));
        }

        _delivering = false;
    }

    /// <summary>Makes all that was completed durable, an image's own tables among it. While nothing is in flight and the event loop is
    /// held. Blocks.</summary>
    /// <returns>False: the host could not.</returns>
    public abstract bool Flush();

    /// <summary>Waits for operations in flight and completes an image's own tables. Once, when the guest and the event loop
    /// have stopped.</summary>
    /// <exception cref="HostException">The image could not be completed.</exception>
    public abstract void Close();

    public abstract void Dispose();

    /// <summary>Stores a completion for the next <see cref="Deliver"/>.</summary>
    protected void Complete(int tag, DiskResult result)
    {
        if (_count == _collected.Length)
        {
            Array.Resize(ref _collected, 2 * _count);   // bounded by what is in flight; seldom
        }

        _collected[_count++] = new DiskCompletion(tag, result);
    }

    protected void Complete(int tag, int errno) => Complete(tag, errno switch
    {
        0 => DiskResult.Ok,
        ErrnoException.EOPNOTSUPP => DiskResult.Unsupported,
        _ => DiskResult.Error,
    });
}
