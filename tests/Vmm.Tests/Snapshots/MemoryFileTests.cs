using Vmm.Backends.Disks;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;

namespace Vmm.Tests.Snapshots;

/// <summary>Guest memory in a file with holes.</summary>
public sealed class MemoryFileTests
{
    private const ulong Size = 40 << 20;

    private static readonly ulong[] Places = [0, 4096, 65536 - 1, 65536, 17 << 20, (17 << 20) + 4096, (33 << 20) + 100, Size - 1];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void It_is_written_with_holes_and_read_again(bool shared)
    {
        using GuestRam ram = Filled(shared);
        using FileDescriptor file = DiskFiles.CreateNameless();
        uint[] checksums = Copy(file, ram, out ulong written);

        Assert.Equal(8UL * 4096, written);
        Assert.Equal(5, checksums.Count(static sum => sum != 0));
        Statx status = HostFile.Status(file, "memory");
        Assert.Equal(Size, status.Size);
        Assert.InRange(status.Blocks * 512, written, written + (128 << 10));
        using var again = new GuestRam(Size);
        MemoryFile.Read(file, "memory", again.HostStart, Size, checksums);
        Assert.True(Bytes(ram).SequenceEqual(Bytes(again)));
    }

    [Fact]
    public void Memory_that_nobody_touched_is_not_touched()
    {
        using var ram = new GuestRam(Size);
        using FileDescriptor file = DiskFiles.CreateNameless();
        uint[] checksums = Copy(file, ram, out ulong written);
        Assert.Equal(0UL, written);
        Assert.All(checksums, static sum => Assert.Equal(0u, sum));
        Assert.DoesNotContain(true, HeldMemory.Find(ram));
    }

    /// <summary>Huge pages would have the kernel read 2 MiB for a byte: only what is in memory anyway is to have them.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public unsafe void Of_a_file_on_a_disk_no_more_is_read_than_is_touched(bool inMemory)
    {
        using FileDescriptor file = inMemory
            ? new FileDescriptor(ErrnoException.Check(LibC.memfd_create("memory"u8, LibC.MFD_CLOEXEC), "memfd_create"))
            : DiskFiles.CreateNameless();
        using GuestRam ram = Filled(shared: false);
        Copy(file, ram, out _);
        long* status = stackalloc long[15];
        Assert.Equal(0, LibC.fstatfs(file.Number, status));
        bool isTmpfs = status[0] == LibC.TMPFS_MAGIC;       // files of tests may lie there
        Assert.True(isTmpfs || !inMemory);
        Assert.Equal(isTmpfs && Directory.Exists("/sys/kernel/mm/transparent_hugepage"), FlagsOf(file).Contains("hg"));

        static string[] FlagsOf(FileDescriptor file)
        {
            using var mapped = new GuestRam(Size, saved: new FileOnly(file));
            string end = $"{mapped.HostStart + (nint)Size:x} ";
            return [.. File.ReadLines("/proc/self/smaps").SkipWhile(line => !line.Contains('-' + end, StringComparison.Ordinal))
                .First(static line => line.StartsWith("VmFlags:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Memory_that_is_mapped_from_a_file_shows_it_again(bool tracked)
    {
        using FileDescriptor file = DiskFiles.CreateNameless();
        using GuestRam ram = Filled(shared: false);
        Copy(file, ram, out _);
        using var mapped = new GuestRam(Size, saved: new FileOnly(file));
        if (tracked)
        {
            _ = mapped.TrackWrites();
        }

        for (int i = 0; i < 3; i++)
        {
            _ = mapped.Memory.Read<ulong>(new GuestAddress(Size - 8));      // of the file: stays
            mapped.Memory.Write(new GuestAddress(20 << 20), 77UL);
            mapped.Memory.Write(new GuestAddress(17 << 20), 0UL);
            Assert.True(mapped.Release(mapped.HostStart + (33 << 20), 1 << 20));
            mapped.Memory.Write(new GuestAddress(33 << 20), 1UL);
            Assert.Equal(2UL + 256, mapped.Revert());
            Assert.True(Bytes(ram).SequenceEqual(Bytes(mapped)));
        }

        Assert.Equal(0UL, mapped.Revert());
        Assert.True(Bytes(ram).SequenceEqual(Bytes(mapped)));
    }

    /// <summary>A machine that was restored without a copy is saved once more: what it never wrote is in the first file only.</summary>
    [Fact]
    public void Memory_that_is_mapped_from_a_file_is_saved_whole()
    {
        using FileDescriptor first = DiskFiles.CreateNameless();
        using GuestRam ram = Filled(shared: false);
        Copy(first, ram, out _);
        using var mapped = new GuestRam(Size, saved: new FileOnly(first));
        mapped.Memory.Write(new GuestAddress(20 << 20), 77UL);
        mapped.Memory.Write(new GuestAddress(17 << 20), 0UL);
        Assert.True(mapped.Release(mapped.HostStart + (33 << 20), 1 << 20));
        Assert.Equal(0, Bytes(mapped)[(33 << 20) + 100]);       // and not what the file has
        using FileDescriptor second = DiskFiles.CreateNameless();
        uint[] checksums = Copy(second, mapped, out _);
        using var again = new GuestRam(Size);
        MemoryFile.Read(second, "memory", again.HostStart, Size, checksums);
        Assert.True(Bytes(mapped).SequenceEqual(Bytes(again)));
        Assert.Equal(77, Bytes(again)[20 << 20]);
        using var unchanged = new GuestRam(Size);
        MemoryFile.Read(first, "memory", unchanged.HostStart, Size, Copy(DiskFiles.CreateNameless(), ram, out _));
    }

    [Fact]
    public void A_bit_that_is_flipped_is_found_wherever_it_is()
    {
        using GuestRam ram = Filled(shared: false);
        using FileDescriptor file = DiskFiles.CreateNameless();
        uint[] checksums = Copy(file, ram, out _);
        var random = new Random(5);
        foreach (ulong at in Places.Concat(Enumerable.Range(0, 20).Select(_ => (ulong)random.NextInt64((long)Size))))
        {
            Flip(file, at);
            using var again = new GuestRam(Size);
            UsageException error = Assert.Throws<UsageException>(() => MemoryFile.Read(file, "memory", again.HostStart, Size, checksums));
            ulong chunk = at / MemoryChecksums.ChunkBytes * MemoryChecksums.ChunkBytes;
            Assert.Equal($"memory: is damaged between its bytes {chunk} and {chunk + MemoryChecksums.ChunkBytes}", error.Message);
            Flip(file, at);
        }
    }

    [Fact]
    public void The_checksum_is_the_one_of_the_specification()
    {
        Assert.Equal(0xe3069283u, Crc32C.Of("123456789"u8));
        Assert.Equal(0x8a9136aau, Crc32C.Of(new byte[32]));     // RFC 3720, B.4
    }

    private static GuestRam Filled(bool shared)
    {
        var ram = new GuestRam(Size, shared);
        foreach (ulong place in Places)
        {
            ram.Memory.Write(new GuestAddress(place), (byte)(1 + (place % 251)));
        }

        return ram;
    }

    private static void Flip(FileDescriptor file, ulong at)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = file.Borrow();
        byte[] one = new byte[1];
        RandomAccess.Read(handle, one, (long)at);
        one[0] ^= 0x10;
        RandomAccess.Write(handle, one, (long)at);
    }

    internal static unsafe ReadOnlySpan<byte> Bytes(GuestRam ram, ulong size = Size) => new((void*)ram.HostStart, (int)size);

    private static uint[] Copy(FileDescriptor file, GuestRam ram, out ulong written)
    {
        using var copy = new MemoryCopy(file, ram);
        copy.CopyAll();
        written = copy.Written;
        return copy.Checksums;
    }

    internal sealed class FileOnly(FileDescriptor file) : ISavedMachine
    {
        public ReadOnlyMemory<byte> State => throw new NotSupportedException();

        public FileDescriptor MapMemory() => new(LibC.fcntl(file.Number, LibC.F_DUPFD_CLOEXEC, 3));

        public void ReadMemory(nint start, ulong length) => throw new NotSupportedException();

        public void CheckHost(Vmm.Kvm.Vcpu vcpu, Vmm.Kvm.KvmSystem kvm) => throw new NotSupportedException();
    }
}
