using System.Diagnostics;
using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Snapshots;

namespace Vmm.Tests.Host;

/// <summary>Memory that a thread brings from a file when it is touched.</summary>
public sealed class FaultServerTests : IDisposable
{
    private const ulong Size = (24 << 20) + 4096, Page = PageSet.PageBytes, Chunk = MemoryChecksums.ChunkBytes;

    // Data, less than a huge page without, data, much without, and a last chunk of one page.
    private static readonly (ulong Start, ulong End)[] Data = [(0, 3 << 20), (4 << 20, 5 << 20), (12 << 20, 13 << 20), (Size - Page, Size)];

    private readonly FileDescriptor _file = DiskFiles.CreateNameless();
    private readonly uint[] _checksums;

    public FaultServerTests()
    {
        using var ram = new GuestRam(Size);
        foreach ((ulong start, ulong end) in Data)
        {
            for (ulong at = start; at < end; at += Page)
            {
                ram.Memory.Write(new GuestAddress(at), Expected(at));
            }
        }

        using var copy = new MemoryCopy(_file, ram);
        copy.CopyAll();
        _checksums = copy.Checksums;
    }

    public void Dispose() => _file.Dispose();

    [Fact]
    public void Pages_come_when_they_are_touched_and_the_rest_when_it_is_asked_for()
    {
        if (!TryServe(out GuestRam? ram))
        {
            return;
        }

        using (ram)
        {
            Parallel.For(0, 4, thread =>
            {
                for (ulong at = (ulong)thread * 16 * Page; at < 3 << 20; at += 64 * Page)
                {
                    Assert.Equal(Expected(at), ram.Memory.Read<ulong>(new GuestAddress(at)));
                }
            });
            Assert.Equal(0UL, ram.Memory.Read<ulong>(new GuestAddress(8 << 20)));
            ram.Memory.Write(new GuestAddress(4 << 20), 77UL);
            Assert.Equal(Expected((4 << 20) + Page), ram.Memory.Read<ulong>(new GuestAddress((4 << 20) + Page)));
            ram.Server!.Complete();
            Assert.Null(ram.Server.Failure);
            for (ulong at = 0; at < Size; at += Page)
            {
                Assert.Equal(at == 4 << 20 ? 77UL : Expected(at), ram.Memory.Read<ulong>(new GuestAddress(at)));
            }

            WriteTrackerTests.Begins(ram);      // nobody else has its faults any more
        }
    }

    [Fact]
    public void The_kernels_own_accesses_are_served()
    {
        if (!TryServe(out GuestRam? ram))
        {
            return;
        }

        using (ram)
        using (FileDescriptor other = DiskFiles.CreateNameless())
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = other.Borrow();
            Write(ram, (12 << 20) + (3 * Page), 2 * Page, file);
            byte[] written = new byte[2 * Page];
            Assert.Equal(written.Length, RandomAccess.Read(file, written, 0));
            Assert.Equal(Expected((12 << 20) + (3 * Page)), BitConverter.ToUInt64(written));
            Assert.Equal(Expected((12 << 20) + (4 * Page)), BitConverter.ToUInt64(written, (int)Page));
            Assert.Equal(8UL, ram.Memory.ReadFile(new GuestAddress((2 << 20) + 8), 8, file, 0));
            Assert.Equal(Expected(2 << 20), ram.Memory.Read<ulong>(new GuestAddress(2 << 20)));
        }
    }

    private static unsafe void Write(GuestRam ram, ulong at, ulong count, Microsoft.Win32.SafeHandles.SafeFileHandle file)
    {
        // SAFETY: within the memory.
        RandomAccess.Write(file, new ReadOnlySpan<byte>((byte*)ram.HostStart + at, (int)count), 0);
    }

    /// <summary>The collector waits for a thread that waits for a page in managed code.</summary>
    [Fact]
    public async Task Collections_of_garbage_and_page_faults_do_not_wait_for_each_other()
    {
        for (int round = 0; round < 2; round++)
        {
            if (!TryServe(out GuestRam? ram))
            {
                return;
            }

            using (ram)
            {
                Task touching = Task.Run(() =>
                {
                    foreach ((ulong start, ulong end) in Data)
                    {
                        for (ulong at = start; at < end; at += Chunk)
                        {
                            Assert.Equal(Expected(at), ram.Memory.Read<ulong>(new GuestAddress(at)));
                        }
                    }
                });
                while (!touching.IsCompleted)
                {
                    GC.Collect(0);
                    Thread.Sleep(0);
                }

                await touching;
            }
        }
    }

    [Fact]
    public void What_is_given_back_reads_as_zeros_before_and_after_it_has_come()
    {
        if (!TryServe(out GuestRam? ram))
        {
            return;
        }

        using (ram)
        {
            Release(1, 3);                  // before its chunk has come
            Assert.Equal(Expected(0), ram.Memory.Read<ulong>(new GuestAddress(0)));
            Release(5, 1);                  // after
            AssertZeros(1, 2, 3, 5);
            Release(16, 16);                // a whole chunk
            AssertZeros(16, 31);
            ram.Memory.Write(new GuestAddress(2 * Page), 9UL);
            Release(2, 1);
            Release(100, 1);
            ram.Server!.Complete();
            AssertZeros(1, 2, 3, 5, 16, 31, 100);
            Assert.Equal(Expected(4 * Page), ram.Memory.Read<ulong>(new GuestAddress(4 * Page)));
            Assert.Equal(Expected(101 * Page), ram.Memory.Read<ulong>(new GuestAddress(101 * Page)));
            Release(101, 1);                // and when all is there
            AssertZeros(101);
        }

        void Release(ulong page, ulong count) => Assert.True(ram!.Release(ram.HostStart + (nint)(page * Page), (nuint)(count * Page)));

        void AssertZeros(params ulong[] pages) =>
            Assert.All(pages, page => Assert.Equal(0UL, ram!.Memory.Read<ulong>(new GuestAddress(page * Page))));
    }

    [Theory]
    [InlineData(0, "memory: has become shorter while it was read")]
    [InlineData(12 << 20, "memory: has become shorter while it was read")]
    [InlineData(-1, "memory: is damaged between its bytes 12582912 and 12648448")]
    public void A_file_that_is_cut_or_damaged_meanwhile_is_named(long length, string why)
    {
        if (!TryServe(out GuestRam? ram))
        {
            return;
        }

        using (ram)
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = _file.Borrow();
            if (length >= 0)
            {
                RandomAccess.SetLength(file, length);
            }
            else
            {
                RandomAccess.Write(file, [1], (12 << 20) + 4095);
            }

            ram.Server!.LoadRest();
            HostException error = Assert.Throws<HostException>(ram.Server.Complete);
            Assert.StartsWith(why, error.Message, StringComparison.Ordinal);
            Assert.Equal(why, ram.Server.Failure);
        }
    }

    [Fact]
    public void Nothing_is_served_where_there_is_nothing()
    {
        using FileDescriptor? faults = FaultServer.TryOpen(out _);
        if (faults is null)
        {
            return;
        }

        using var memory = new AnonymousMemory(Size, "");
        using FaultServer server = FaultServer.Start(
            faults, FileDescriptor.Duplicate(_file.Number), "memory", memory.Start, Size, new uint[_checksums.Length], "");
        Assert.Null(server.Failure);
    }

    /// <summary>A machine that ends at once, for instance.</summary>
    [Fact]
    public void It_stops_before_all_is_there()
    {
        for (int i = 0; i < 100 && TryServe(out GuestRam? ram); i++)
        {
            if (i % 2 == 0)
            {
                ram.Server!.LoadRest();
            }

            ram.Dispose();
        }
    }

    [Fact]
    public void Bytes_have_the_same_checksum_in_C_and_here()
    {
        var random = new Random(17);
        foreach (int length in (int[])[4096, 65536])
        {
            byte[] bytes = new byte[length];
            Assert.Equal(0u, Checksum(bytes));
            bytes[^1] = 1;
            Assert.Equal(MemoryChecksums.Of(bytes), Checksum(bytes));
            random.NextBytes(bytes);
            Assert.Equal(MemoryChecksums.Of(bytes), Checksum(bytes));
            Array.Fill(bytes, (byte)5);
            Assert.Equal(MemoryChecksums.Of(bytes), Checksum(bytes));
        }

        static unsafe uint Checksum(byte[] bytes)
        {
            fixed (byte* first = bytes)
            {
                // SAFETY: an array of that length.
                return vmm_checksum(first, (ulong)bytes.Length);
            }
        }
    }

    private static ulong Expected(ulong at) => Data.Any(part => at >= part.Start && at < part.End) ? at | 1 : 0;

    /// <returns>False where the host does not allow it.</returns>
    private bool TryServe([System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out GuestRam? ram)
    {
        var saved = new Served(_file, _checksums);
        ram = new GuestRam(Size, saved: saved);
        if (ram.Server is not null)
        {
            return true;
        }

        Assert.NotEmpty(saved.Obstacle);
        ram.Dispose();
        ram = null;
        return false;
    }

    [DllImport("vmmnative")]
    private static extern unsafe uint vmm_checksum(byte* bytes, ulong count);

    /// <summary>Memory that comes from a file as it is touched.</summary>
    internal sealed class Served(FileDescriptor file, uint[] checksums) : ISavedMachine
    {
        private readonly MemoryFileTests.FileOnly _file = new(file);

        public string Obstacle { get; private set; } = "";

        public ReadOnlyMemory<byte> State => throw new NotSupportedException();

        public FileDescriptor MapMemory() => _file.MapMemory();

        public void ReadMemory(nint start, ulong length) => throw new NotSupportedException();

        public void CheckHost(Vmm.Kvm.Vcpu vcpu, Vmm.Kvm.KvmSystem kvm) => throw new NotSupportedException();

        public FileDescriptor? OpenFaults(bool shared)
        {
            FileDescriptor? faults = FaultServer.TryOpen(out string obstacle);
            Obstacle = obstacle;
            return faults;
        }

        public FaultServer Serve(FileDescriptor faults, nint start, ulong length) =>
            FaultServer.Start(faults, MapMemory(), "memory", start, length, checksums, "do without");
    }
}
