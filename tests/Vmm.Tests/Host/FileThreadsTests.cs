using Vmm.Host;

namespace Vmm.Tests.Host;

public sealed class FileThreadsTests
{
    /// <summary>One operation has left a thread behind that waits; then four come at once, each of which ends only once
    /// all four are under way.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void A_burst_wakes_as_many_threads_as_it_needs(int before)
    {
        const int Burst = 4;
        using var finished = new EventFd();
        using var together = new Barrier(Burst);
        bool met = true;
        using var threads = new FileThreads(finished, io =>
        {
            if (io.Tag < Burst)
            {
                met &= together.SignalAndWait(TimeSpan.FromSeconds(30));
            }

            return 0;
        });
        for (int i = 0; i < before; i++)
        {
            Assert.True(threads.TryBegin(new FileIo(new Owner(), Burst)));
            threads.Wait();
            Assert.NotNull(threads.TryReap(out _));
        }

        for (int i = 0; i < Burst; i++)
        {
            Assert.True(threads.TryBegin(new FileIo(new Owner(), i)));
        }

        var done = new HashSet<int>();
        while (done.Count < Burst)
        {
            threads.Wait();
            while (threads.TryReap(out _) is { } io)
            {
                Assert.True(done.Add(io.Tag));
            }
        }

        Assert.True(met, "a burst waited for one thread");
    }

    [Fact]
    public void Operations_of_any_number_all_end()
    {
        const int Count = 2000;
        using var finished = new EventFd();
        using var threads = new FileThreads(finished, static io => io.Tag);
        for (int i = 0; i < Count; i++)
        {
            Assert.True(threads.TryBegin(new FileIo(new Owner(), i)));
        }

        var done = new HashSet<long>();
        while (done.Count < Count)
        {
            threads.Wait();
            while (threads.TryReap(out long result) is not null)
            {
                Assert.True(done.Add(result));
            }
        }
    }

    private sealed class Owner : IFileIoOwner
    {
        public void Finished(FileIo io)
        {
        }

        public void Deliver()
        {
        }
    }
}
