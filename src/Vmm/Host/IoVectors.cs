using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Host;

/// <summary>Parts of scatter lists, and copies from and to them.</summary>
internal static unsafe class IoVectors
{
    /// <summary>Describes a part of the list in vectors of our own.</summary>
    /// <param name="vectors">Address of <paramref name="count"/> vectors.</param>
    /// <param name="skip">Bytes before the part.</param>
    /// <param name="length">Bytes wanted; on return how many the result describes: fewer where
    /// <paramref name="result"/> is too short, always at least one vector's worth.</param>
    /// <returns>Vectors used.</returns>
    public static int Slice(nint vectors, int count, ulong skip, ref ulong length, Span<IoVector> result)
    {
        int used = 0;
        ulong left = length;
        for (int i = 0; i < count && left > 0 && used < result.Length; i++)
        {
            // SAFETY: i < count, and the array is in place while its request is (IDiskBackend's contract).
            IoVector vector = ((IoVector*)vectors)[i];
            if (skip >= vector.Length)
            {
                skip -= vector.Length;
                continue;
            }

            ulong part = Math.Min(vector.Length - skip, left);
            result[used++] = new IoVector(vector.Base + (nint)skip, (nuint)part);
            left -= part;
            skip = 0;
        }

        length -= left;
        return used;
    }

    /// <summary>Writes zeros to what the vectors describe.</summary>
    public static void Clear(nint vectors, int count)
    {
        for (int i = 0; i < count; i++)
        {
            // SAFETY: as in Slice; memory that the kernel could write to as well: guest memory that stays mapped.
            IoVector vector = ((IoVector*)vectors)[i];
            NativeMemory.Clear((void*)vector.Base, vector.Length);
        }
    }

    /// <summary>Copies to what the vectors describe; as much as they have room for.</summary>
    public static void Fill(nint vectors, int count, ReadOnlySpan<byte> data)
    {
        for (int i = 0; i < count; i++)
        {
            // SAFETY: as above.
            IoVector vector = ((IoVector*)vectors)[i];
            int part = (int)Math.Min((nuint)data.Length, vector.Length);
            data[..part].CopyTo(new Span<byte>((void*)vector.Base, part));
            data = data[part..];
        }
    }

    /// <summary>Copies first one and then the other to what the vectors describe; as much as they have room
    /// for.</summary>
    /// <returns>Bytes copied.</returns>
    public static int Fill(ReadOnlySpan<IoVector> vectors, ReadOnlySpan<byte> first, ReadOnlySpan<byte> then)
    {
        int done = 0;
        foreach (IoVector vector in vectors)
        {
            nint at = vector.Base;
            nuint room = vector.Length;
            while (room > 0 && (!first.IsEmpty || !then.IsEmpty))
            {
                ref ReadOnlySpan<byte> from = ref first;
                if (first.IsEmpty)
                {
                    from = ref then;
                }

                int part = (int)Math.Min((nuint)from.Length, room);

                // SAFETY: as above: part bytes that are left of the vector.
                from[..part].CopyTo(new Span<byte>((void*)at, part));
                from = from[part..];
                at += part;
                room -= (nuint)part;
                done += part;
            }
        }

        return done;
    }

    /// <summary>Copies from what the vectors describe, as much as there is room for.</summary>
    /// <param name="skip">Bytes before the part that is wanted.</param>
    /// <returns>Bytes copied.</returns>
    public static int CopyFrom(ReadOnlySpan<IoVector> vectors, nuint skip, Span<byte> destination)
    {
        int done = 0;
        foreach (IoVector vector in vectors)
        {
            if (skip >= vector.Length)
            {
                skip -= vector.Length;
                continue;
            }

            int part = (int)Math.Min((nuint)(destination.Length - done), vector.Length - skip);

            // SAFETY: part bytes from skip on are within the vector; the guest may change them, which spoils only what
            // it sends.
            new ReadOnlySpan<byte>((void*)(vector.Base + (nint)skip), part).CopyTo(destination[done..]);
            done += part;
            skip = 0;
        }

        return done;
    }

    /// <summary>Is each vector a multiple of these, in address and in length?</summary>
    public static bool AreAligned(nint vectors, int count, uint addressAlign, uint lengthAlign)
    {
        for (int i = 0; i < count; i++)
        {
            // SAFETY: as in Slice.
            IoVector vector = ((IoVector*)vectors)[i];
            if (((nuint)vector.Base % addressAlign) != 0 || vector.Length % lengthAlign != 0)
            {
                return false;
            }
        }

        return true;
    }
}
