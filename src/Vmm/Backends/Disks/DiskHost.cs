using System.Numerics;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>A disk ready for the guest.</summary>
/// <param name="Backend">Owned by the <see cref="DiskHost"/>.</param>
/// <param name="Options">How it looks to the guest.</param>
internal sealed record OpenDisk(DiskNode Backend, BlockOptions Options);

/// <summary>Opens what <c>--disk</c> names, and closes all of it at the machine's end.</summary>
internal sealed class DiskHost(EventLoop loop, bool allowIoUring = true) : IDisposable
{
    private readonly FileEngine _engine = new(loop, allowIoUring);

    /// <summary>Errors of the host under any of the disks.</summary>
    public HostErrorLog Errors => _engine.Errors;

    private readonly List<DiskNode> _disks = [];

    /// <summary>Opens and locks the image. Before the loop starts, or on its thread.</summary>
    /// <param name="overlay">An ephemeral overlay that has changes already; null for a new one.</param>
    /// <exception cref="UsageException">The file or an option does not fit; one line that says what to do.</exception>
    public OpenDisk Open(DiskSpec spec, FileDescriptor? overlay = null)
    {
        DiskNode disk = new DiskImages(_engine, spec, overlay).Open(out uint alignment);
        try
        {
            if (spec.Iops != 0 || spec.Bandwidth != 0)
            {
                disk = new ThrottledDisk(disk, spec.Iops, spec.Bandwidth, TimeProvider.System, Timer);
            }

            if (spec.Faults.Any)
            {
                disk = new FaultyDisk(disk, spec.Faults, TimeProvider.System, Timer);
            }

            BlockOptions options = Options(spec, disk, alignment);
            _engine.Prepare();
            _disks.Add(disk);
            return new OpenDisk(disk, options);
        }
        catch
        {
            disk.Dispose();
            throw;
        }
    }

    /// <summary>Opens an ephemeral disk again, with other changes; what was written to it before is lost. While nothing is in flight and
    /// the loop is held.</summary>
    /// <param name="old">As <see cref="Open"/> gave it; it is closed.</param>
    /// <param name="spec">As it was opened.</param>
    /// <param name="overlay">The other changes; null for none.</param>
    /// <param name="replace">Called with the new one while both are open.</param>
    /// <inheritdoc cref="Open"/>
    public OpenDisk Replace(OpenDisk old, DiskSpec spec, FileDescriptor? overlay, Action<DiskNode> replace)
    {
        OpenDisk disk = Open(spec, overlay);
        replace(disk.Backend);
        _disks.Remove(old.Backend);
        old.Backend.Dispose();
        return disk;
    }

    /// <summary>Is no operation on a file in flight? On the loop's thread.</summary>
    public bool IsQuiet => _engine.InFlight == 0;

    /// <summary>Waits for what is in flight and completes the images. Once, after the guest's threads and the loop have
    /// stopped and while guest memory is still mapped.</summary>
    /// <exception cref="HostException">An image could not be completed; the others were.</exception>
    public void Close()
    {
        HostException? failure = null;
        foreach (DiskNode disk in _disks)
        {
            try
            {
                disk.Close();
            }
            catch (HostException error)
            {
                failure ??= error;
            }
        }

        if (failure is not null)
        {
            throw failure;
        }
    }

    public void Dispose()
    {
        foreach (DiskNode disk in _disks)
        {
            disk.Dispose();
        }

        _disks.Clear();
        _engine.Dispose();
    }

    private LoopTimer Timer(Action elapsed) => new LoopTimer(loop, elapsed);

    private static BlockOptions Options(DiskSpec spec, DiskNode disk, uint alignment)
    {
        // Not the host's sector size: partition tables count in blocks, and would mean other places.
        uint blockSize = spec.BlockSize != 0 ? spec.BlockSize : 512;
        if (disk.Length % blockSize != 0)
        {
            throw new UsageException(
                $"--disk {spec.Path}: {disk.Length} bytes are no multiple of blocksize={blockSize}; give another");
        }

        return new BlockOptions
        {
            Serial = spec.Serial,
            Queues = spec.Queues,
            ReadOnly = spec.ReadOnly,
            BlockSize = blockSize,
            PhysicalBlockSize = Math.Max(BitOperations.IsPow2(alignment) ? alignment : 0, 4096),
            Writeback = spec.Cache != DiskCache.Writethrough,
        };
    }
}
