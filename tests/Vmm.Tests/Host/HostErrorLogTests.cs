using Vmm.Backends.Disks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Tests.Host;

/// <summary>Errors of the host below a disk: the guest gets an I/O error, and one message says why.</summary>
public sealed class HostErrorLogTests
{
    private const int EFBIG = 27, EDQUOT = 122;

    private readonly SteppedTime _time = new();
    private readonly List<string> _said = [];
    private readonly HostErrorLog _log;

    public HostErrorLogTests() => _log = new HostErrorLog(_time, _said.Add);

    [Fact]
    public void The_first_error_is_said_at_once_and_then_one_a_minute_with_their_number()
    {
        for (int i = 0; i < 1000; i++)
        {
            _log.Report("a.img", FileOperation.Write, ErrnoException.ENOSPC);
        }

        Assert.Equal(["a.img: cannot be written: No space left on device: the guest gets I/O errors"], _said);
        _time.Seconds += 61;
        _log.Report("a.img", FileOperation.Write, ErrnoException.ENOSPC);
        _log.Report("b.img", FileOperation.Read, ErrnoException.EIO);
        Assert.Equal(
            [
                "a.img: cannot be written: No space left on device: the guest gets I/O errors (1001 so far)",
                "b.img: cannot be read: Input/output error: the guest gets I/O errors",
            ],
            _said[1..]);
        Assert.Equal(
            [
                "a.img: 1001 I/O errors, the last one: cannot be written: No space left on device",
                "b.img: 1 I/O error, the last one: cannot be read: Input/output error",
            ],
            _log.Summary);
    }

    [Theory]
    [InlineData(ErrnoException.ENOSPC, "No space left on device")]
    [InlineData(EFBIG, "File too large")]
    [InlineData(ErrnoException.EIO, "Input/output error")]
    [InlineData(EDQUOT, "Disk quota exceeded")]
    [InlineData(ErrnoException.EPERM, "Operation not permitted")]
    public void Each_reason_has_its_words(int errno, string words)
    {
        _log.Report("a.img", FileOperation.Sync, errno);
        Assert.Contains(words, Assert.Single(_said), StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_file_system_cannot_and_vmm_can_is_no_error()
    {
        _log.Report("a.img", FileOperation.Allocate, ErrnoException.EOPNOTSUPP);
        Assert.Empty(_said);
        Assert.Empty(_log.Summary);
    }

    /// <summary>/dev/full is a full disk: writes give ENOSPC.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public unsafe void A_write_to_a_full_disk_is_an_error_to_the_guest_and_a_line_to_the_user(bool ioUring)
    {
        using var loop = new EventLoop();
        using var engine = new FileEngine(loop, ioUring, _log);
        var file = new HostFile("/dev/full", FileDescriptor.Open("/dev/full", LibC.O_RDWR), readOnly: false, engine);
        using var disk = new RawDisk(file);
        var completions = new Collected();
        disk.Attach(completions);
        byte[] sector = GC.AllocateArray<byte>(512, pinned: true);
        IoVector[] vectors = GC.AllocateArray<IoVector>(1, pinned: true);
        fixed (byte* data = sector)
        {
            fixed (IoVector* vector = vectors)
            {
                *vector = new IoVector((nint)data, 512);
                disk.Enqueue(new DiskRequest(
                    DiskOperation.Write, Tag: 7, Offset: 0, Length: 512, (nint)vector, VectorCount: 1, DiskOptions.None));
                disk.Submit();
                file.Drain();
                disk.Deliver();
            }
        }

        Assert.Equal([new DiskCompletion(7, DiskResult.Error)], completions.All);
        Assert.Equal(["/dev/full: cannot be written: No space left on device: the guest gets I/O errors"], _said);

        // The few bytes of an image's own tables are written in another way.
        Assert.False(file.TryWrite(0, sector));
        Assert.Equal(["/dev/full: 2 I/O errors, the last one: cannot be written: No space left on device"], _log.Summary);
    }

    private sealed class Collected : IDiskCompletions
    {
        public List<DiskCompletion> All { get; } = [];

        public void Completed(ReadOnlySpan<DiskCompletion> completions) => All.AddRange(completions);
    }

    private sealed class SteppedTime : TimeProvider
    {
        public long Seconds { get; set; } = 1;

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => Seconds;
    }
}
