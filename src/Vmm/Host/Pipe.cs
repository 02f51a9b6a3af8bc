using System.Buffers;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>pipe(2).</summary>
internal static unsafe class Pipe
{
    public static (FileDescriptor Read, FileDescriptor Write) Create()
    {
        int* pair = stackalloc int[2];

        // SAFETY: room for two numbers on this stack.
        ErrnoException.Check(LibC.pipe2(pair, LibC.O_CLOEXEC), "pipe2");
        return (new FileDescriptor(pair[0]), new FileDescriptor(pair[1]));
    }

    /// <summary>Reads until all writers have closed it.</summary>
    /// <param name="patience">How long nothing may come.</param>
    /// <param name="most">Bytes.</param>
    /// <returns>Null where it takes longer, or there is more.</returns>
    public static byte[]? ReadAll(FileDescriptor read, TimeSpan patience, int most)
    {
        var content = new ArrayBufferWriter<byte>(Block);
        while (content.WrittenCount <= most)
        {
            if (!Wait(read, LibC.POLLIN, patience))
            {
                return null;
            }

            long count;
            fixed (byte* start = content.GetSpan(Block))
            {
                // SAFETY: room for as much, pinned meanwhile.
                count = LibC.read(read.Number, start, Block);
            }

            if (count == 0)
            {
                return content.WrittenSpan.ToArray();
            }

            ErrnoException.Check((int)count, "read");
            content.Advance((int)count);
        }

        return null;
    }

    /// <param name="patience">How long the reader may take nothing.</param>
    /// <returns>False where it takes longer, or has closed its end.</returns>
    public static bool TryWriteAll(FileDescriptor write, ReadOnlySpan<byte> content, TimeSpan patience)
    {
        ErrnoException.Check(LibC.fcntl(write.Number, LibC.F_SETFL, LibC.O_NONBLOCK), "fcntl");
        while (!content.IsEmpty)
        {
            if (!Wait(write, LibC.POLLOUT, patience))
            {
                return false;
            }

            long count;
            fixed (byte* start = content)
            {
                // SAFETY: pinned meanwhile.
                count = LibC.write(write.Number, start, content.Length);
            }

            if (count < 0)
            {
                return false;
            }

            content = content[(int)count..];
        }

        return true;
    }

    private static bool Wait(FileDescriptor end, short events, TimeSpan patience)
    {
        var poll = new pollfd { fd = end.Number, events = events };

        // SAFETY: a struct on this stack.
        return LibC.Poll(&poll, 1, (int)patience.TotalMilliseconds) > 0;
    }

    private const int Block = 64 << 10;
}
