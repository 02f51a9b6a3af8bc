using System.Text;
using Vmm.Guest.Tests.Harness;
using Vmm.Host;

namespace Vmm.Tests.Host;

public sealed unsafe class WriterThreadTests
{
    private static readonly TimeSpan Moment = TimeSpan.FromMilliseconds(100);

    [Fact]
    public void A_terminal_that_takes_nothing_blocks_only_the_thread()
    {
        using var terminal = new PseudoTerminal();
        using FileDescriptor fd = FileDescriptor.Open(terminal.Path, LibC.O_RDWR | LibC.O_NOCTTY);
        const int Capacity = 64 << 10;
        using var writer = new WriterThread("test", fd.Number, Capacity);
        byte[] many = new byte[1000];
        while (writer.Write(many) == many.Length || !writer.Flush(Moment))
        {
            if (writer.TotalBytes > Capacity)
            {
                break;
            }
        }

        Assert.True(writer.TotalBytes > Capacity);
        Assert.False(writer.Flush(Moment));
        Assert.False(writer.TryWriteAll(new byte[Capacity + 1]));
    }

    [Fact]
    public void A_full_pipe_that_does_not_block_gets_everything_in_the_end()
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (read)
        using (write)
        {
            _ = LibC.fcntl(write.Number, LibC.F_SETFL, LibC.O_NONBLOCK);
            byte[] junk = new byte[4096];
            int filled = 0;
            fixed (byte* start = junk)
            {
                for (long got; (got = LibC.write(write.Number, start, junk.Length)) > 0; filled += (int)got)
                {
                }
            }

            using var writer = new WriterThread("test", write.Number, 4096);
            Assert.True(writer.TryWriteAll("last words"u8));
            Assert.False(writer.Flush(Moment));
            byte[] all = new byte[filled + 10];
            ReadAll(read, all);
            Assert.True(writer.Flush(TimeSpan.FromSeconds(60)));
            Assert.Equal("last words", Encoding.ASCII.GetString(all.AsSpan(filled)));
        }
    }

    [Fact]
    public void A_failed_write_is_reported_once_and_later_bytes_are_dropped()
    {
        using FileDescriptor full = FileDescriptor.Open("/dev/full", LibC.O_RDWR);
        int told = 0;
        using var writer = new WriterThread("test", full.Number, 4096) { Failed = _ => Interlocked.Increment(ref told) };
        Assert.True(writer.TryWriteAll("one"u8));
        Assert.True(writer.Flush(TimeSpan.FromSeconds(60)));
        Assert.Equal(ErrnoException.ENOSPC, writer.Failure!.Errno);
        Assert.Equal(10_000, writer.Write(new byte[10_000]));
        Assert.True(writer.Flush(TimeSpan.FromSeconds(60)));
        Assert.Equal(1, told);
    }

    [Fact]
    public void Waiting_for_a_reader_can_be_interrupted()
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (read)
        using (write)
        using (var interrupt = new EventFd())
        {
            using var writer = new WriterThread("test", write.Number, 1 << 20);
            writer.Write(new byte[1 << 20]);
            interrupt.Signal();
            Assert.False(writer.Flush(Timeout.InfiniteTimeSpan, interrupt.Number));
            ReadAll(read, new byte[1 << 20]);
            Assert.True(writer.Flush(TimeSpan.FromSeconds(60)));
        }
    }

    private static void ReadAll(FileDescriptor pipe, byte[] all)
    {
        fixed (byte* start = all)
        {
            for (int done = 0; done < all.Length;)
            {
                long got = LibC.read(pipe.Number, start + done, all.Length - done);
                Assert.True(got > 0);
                done += (int)got;
            }
        }
    }
}
