using System.Diagnostics;

namespace Vmm.Devices.Virtio;

/// <summary>Moves bytes between the device and the buffers of a chain, wherever the driver put the boundaries
/// (virtio 1.2, section 2.6.4.1: a device makes no assumption about them).</summary>
/// <remarks>Every vector came from <see cref="Virtqueue.TryPop"/>, so it lies in guest memory; the guest may change
/// what is there at any time, so what is read is read once.</remarks>
internal static unsafe class VirtqueueBuffers
{
    /// <summary>Copies from the start of the buffers; returns how many bytes there were.</summary>
    public static int CopyFrom(ReadOnlySpan<IoVector> buffers, Span<byte> destination)
    {
        int done = 0;
        foreach (IoVector buffer in buffers)
        {
            int count = (int)Math.Min(buffer.Length, (nuint)(destination.Length - done));
            if (count == 0)
            {
                break;
            }

            // SAFETY: the vector lies in guest memory (see above), and count is at most its length.
            new ReadOnlySpan<byte>((void*)buffer.Base, count).CopyTo(destination[done..]);
            done += count;
        }

        return done;
    }

    /// <summary>Copies to the start of the buffers; returns how many bytes fit.</summary>
    public static int CopyTo(ReadOnlySpan<IoVector> buffers, ReadOnlySpan<byte> source)
    {
        int done = 0;
        foreach (IoVector buffer in buffers)
        {
            int count = (int)Math.Min(buffer.Length, (nuint)(source.Length - done));
            if (count == 0)
            {
                break;
            }

            // SAFETY: as above.
            source.Slice(done, count).CopyTo(new Span<byte>((void*)buffer.Base, count));
            done += count;
        }

        return done;
    }

    /// <summary>Copies to <paramref name="offset"/> bytes behind the start of the buffers; all of it must fit.</summary>
    public static void CopyTo(ReadOnlySpan<IoVector> buffers, ulong offset, ReadOnlySpan<byte> source)
    {
        foreach (IoVector buffer in buffers)
        {
            if (offset >= buffer.Length)
            {
                offset -= buffer.Length;
                continue;
            }

            var part = new IoVector(buffer.Base + (nint)offset, buffer.Length - (nuint)offset);
            offset = 0;
            source = source[CopyTo(new ReadOnlySpan<IoVector>(in part), source)..];
            if (source.IsEmpty)
            {
                return;
            }
        }
    }

    /// <summary>Up to <paramref name="most"/> bytes of a buffer, for writing into without a copy. Never read through
    /// it: the guest changes what is there at any time.</summary>
    public static Span<byte> AsSpan(IoVector buffer, int most)
    {
        // SAFETY: the vector lies in guest memory, which outlives every device.
        return new Span<byte>((void*)buffer.Base, (int)Math.Min(buffer.Length, (nuint)most));
    }

    /// <summary>Takes <paramref name="bytes"/> off the front, which must be there; how many vectors are used up. The
    /// one behind them may have become shorter.</summary>
    public static int Skip(Span<IoVector> buffers, ulong bytes)
    {
        int used = 0;
        while (bytes != 0)
        {
            IoVector buffer = buffers[used];
            if (bytes < buffer.Length)
            {
                buffers[used] = new IoVector(buffer.Base + (nint)bytes, buffer.Length - (nuint)bytes);
                break;
            }

            bytes -= buffer.Length;
            used++;
        }

        return used;
    }

    /// <summary>Leaves <paramref name="bytes"/> at the front, or all if there are fewer; how many vectors those are. The
    /// last of them may have become shorter.</summary>
    public static int Cut(Span<IoVector> buffers, ulong bytes)
    {
        int count = 0;
        while (count < buffers.Length && bytes != 0)
        {
            ulong kept = Math.Min(bytes, buffers[count].Length);
            buffers[count] = buffers[count] with { Length = (nuint)kept };
            bytes -= kept;
            count++;
        }

        return count;
    }

    /// <summary>Takes the last byte off, which must be there, and tells where it is; how many vectors are left.</summary>
    public static int TakeLast(Span<IoVector> buffers, out nint address)
    {
        int last = buffers.Length - 1;
        IoVector buffer = buffers[last];
        address = buffer.Base + (nint)buffer.Length - 1;
        if (buffer.Length == 1)
        {
            return last;
        }

        buffers[last] = new IoVector(buffer.Base, buffer.Length - 1);
        return buffers.Length;
    }

    /// <summary>Stores one byte at an address from <see cref="TakeLast"/>.</summary>
    public static void Store(nint address, byte value)
    {
        Debug.Assert(address != 0);

        // SAFETY: TakeLast gave an address inside a vector.
        Volatile.Write(ref *(byte*)address, value);
    }
}
