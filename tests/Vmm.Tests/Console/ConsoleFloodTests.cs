using System.Diagnostics;
using System.IO.Pipes;
using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Backends.Console;
using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Console;

/// <summary>A guest that writes to its console without a pause, with a reader that is slow or does not read.</summary>
public sealed class ConsoleFloodTests
{
    private const int Ring = 64 << 10;

    /// <summary>Nothing is allocated by the flood's length; a lock that is contended for the first time makes something to wait
    /// for.</summary>
    [Fact]
    public void A_flood_is_held_back_without_waiting_and_without_growing_and_nothing_of_it_is_lost() =>
        Assert.InRange(Allocations.Least(Flood), 0, 1024);

    private static long Flood()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.In);
        using var loop = new EventLoop();
        using var output = new ConsoleOutput(loop, (int)pipe.ClientSafePipeHandle.DangerousGetHandle());
        loop.Start();

        // The guest's side: nobody reads yet, so at some point nothing more is taken, and every call returns all the same.
        // A call that is refused while the pipe is full already is the last: the loop's thread can do nothing more until
        // somebody reads. Before that it may stop at any place, or empty the ring late, on a busy machine.
        byte next = 0;
        long taken = 0;
        int refusals = 0;
        bool held = false;
        Span<byte> some = stackalloc byte[16];
        var patience = Stopwatch.StartNew();
        long before = GC.GetAllocatedBytesForCurrentThread();
        while (!held && patience.Elapsed.TotalSeconds < 60)
        {
            for (int i = 0; i < some.Length; i++)
            {
                some[i] = (byte)(next + i);
            }

            bool full = refusals >= 100_000 && !HasRoom(pipe.ClientSafePipeHandle);
            int count = output.Write(some);
            next += (byte)count;
            taken += count;
            refusals = count == 0 ? refusals + 1 : 0;
            held = full && count == 0;
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(held, "the ring takes more and more");
        const int MostInAPipe = 1 << 20;
        Assert.InRange(taken, Ring + 1, Ring + MostInAPipe);
        Assert.Equal(taken, output.TotalBytes);

        // The reader wakes up: the guest is told that there is room, and every byte arrives in order.
        using var room = new ManualResetEventSlim();
        output.Drained += room.Set;
        byte expected = 0;
        byte[] chunk = new byte[4096];
        for (long left = taken; left > 0;)
        {
            int got = pipe.Read(chunk, 0, (int)Math.Min(left, chunk.Length));
            Assert.True(got > 0, "the console's end was closed");
            left -= got;
            for (int i = 0; i < got; i++)
            {
                Assert.Equal(expected++, chunk[i]);
            }
        }

        Assert.True(room.Wait(TimeSpan.FromSeconds(60)), "nobody told the guest that there is room again");
        Assert.Equal(some.Length, output.Write(some));
        loop.Stop();
        return allocated;
    }

    private static unsafe bool HasRoom(SafeHandle pipe)
    {
        var poll = new pollfd { fd = (int)pipe.DangerousGetHandle(), events = LibC.POLLOUT };

        // SAFETY: one struct on this stack.
        return LibC.Poll(&poll, 1, 0) > 0;
    }
}
