using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Where a sparse file has data, by lseek(2) with SEEK_DATA and SEEK_HOLE; all else reads as zero.</summary>
internal static class FileExtents
{
    /// <param name="file">Its file offset is moved.</param>
    /// <param name="length">Bytes of the file that are looked at.</param>
    /// <returns>Stretches [Start, End), in order. A file system that does not know says that all is data.</returns>
    public static IEnumerable<(ulong Start, ulong End)> DataOf(FileDescriptor file, ulong length)
    {
        ulong at = 0;
        while (at < length)
        {
            long start = LibC.lseek(file.Number, (long)at, LibC.SEEK_DATA);
            if (start < 0)
            {
                if (Marshal.GetLastPInvokeError() != ErrnoException.ENXIO)
                {
                    yield return (at, length);
                }

                yield break;
            }

            long end = LibC.lseek(file.Number, start, LibC.SEEK_HOLE);
            at = end > start ? Math.Min((ulong)end, length) : length;
            if ((ulong)start < length)
            {
                yield return ((ulong)start, at);
            }
        }
    }

    /// <summary>Copies a file's data to one that is empty, with the same holes.</summary>
    /// <exception cref="IOException">The host cannot read or write.</exception>
    public static void Copy(FileDescriptor from, FileDescriptor to)
    {
        using var source = from.Borrow();
        using var target = to.Borrow();
        long length = RandomAccess.GetLength(source);
        to.SetLength((ulong)length);
        byte[] buffer = new byte[1 << 20];
        foreach ((ulong start, ulong end) in DataOf(from, (ulong)length))
        {
            for (ulong at = start; at < end;)
            {
                int read = RandomAccess.Read(source, buffer.AsSpan(0, (int)Math.Min(end - at, (ulong)buffer.Length)), (long)at);
                if (read == 0)
                {
                    break;      // it has become shorter
                }

                RandomAccess.Write(target, buffer.AsSpan(0, read), (long)at);
                at += (ulong)read;
            }
        }
    }
}
