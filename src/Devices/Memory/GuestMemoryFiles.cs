using Microsoft.Win32.SafeHandles;

namespace Vmm.Devices.Memory;

/// <summary>Moves bytes of a file straight into guest memory, so that a kernel or an initramfs never passes through
/// the GC heap and costs no resident page but the guest's own.</summary>
public static unsafe class GuestMemoryFiles
{
    // pread(2) moves at most 2 GiB - 4 KiB at once; a round number below that.
    private const ulong MostAtOnce = 1UL << 30;

    /// <summary>Reads bytes of <paramref name="file"/> from <paramref name="offset"/> on.</summary>
    /// <returns>How many bytes were read: fewer than asked for only where the file ends.</returns>
    /// <exception cref="GuestMemoryException">The range is not all memory; nothing was read.</exception>
    /// <exception cref="IOException">The host could not read the file.</exception>
    public static ulong ReadFile(
        this GuestMemory memory, GuestAddress address, ulong length, SafeFileHandle file, long offset)
    {
        if (!memory.TryGetPointer(address, length, out byte* pointer))
        {
            throw new GuestMemoryException(address, length);
        }

        ulong done = 0;
        while (done < length)
        {
            // SAFETY: done + count <= length, all of which TryGetPointer found to be mapped memory.
            var target = new Span<byte>(pointer + done, (int)Math.Min(length - done, MostAtOnce));
            int count = RandomAccess.Read(file, target, offset + (long)done);
            if (count == 0)
            {
                break;
            }

            done += (ulong)count;
        }

        return done;
    }
}
