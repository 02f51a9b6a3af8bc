using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Fills <see cref="Layout.StartInfoRoom"/> bytes with structures, each aligned to 8 bytes.</summary>
/// <param name="start">Where they begin: a multiple of 8.</param>
internal sealed class StartInfoWriter(GuestMemory memory, ulong start = Layout.StartInfo)
{
    private readonly ulong _end = start + Layout.StartInfoRoom;

    private ulong _next = start;

    /// <summary>Writes a structure.</summary>
    /// <returns>Its address.</returns>
    public ulong Add<T>(T value)
        where T : unmanaged => Add(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Writes an array; an empty one has an address too.</summary>
    public ulong Add<T>(ReadOnlySpan<T> values)
        where T : unmanaged => Add(MemoryMarshal.AsBytes(values));

    /// <summary>Keeps room for a structure that is written later.</summary>
    public ulong Reserve<T>()
        where T : unmanaged => Take((ulong)Unsafe.SizeOf<T>());

    public ulong Add(ReadOnlySpan<byte> bytes)
    {
        ulong address = Take((ulong)bytes.Length);
        memory.Write(new GuestAddress(address), bytes);
        return address;
    }

    private ulong Take(ulong length)
    {
        ulong address = _next;
        if (length > _end - address)
        {
            throw new BootException("initrd: too many files, or too long names, to tell the kernel about: give fewer");
        }

        _next = Math.Min((address + length + 7) & ~7UL, _end);
        return address;
    }
}
