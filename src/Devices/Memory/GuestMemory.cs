using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Vmm.Devices.Memory;

/// <summary>The guest's memory as the VMM sees it: a few regions (two when it reaches past the hole below 4 GiB),
/// each mapped into this process outside the GC heap.</summary>
/// <remarks>
/// The guest writes to this memory at any time. Nothing here hands out a managed reference into it: values are
/// copied out once, checked, then used. Accesses of 1, 2, 4 or 8 naturally aligned bytes are single loads and
/// stores. A range never spans two regions. Safe to use from any thread.
/// </remarks>
public sealed unsafe class GuestMemory
{
    private readonly GuestRegion[] _regions;

    /// <param name="regions">Sorted by start, without overlap.</param>
    public GuestMemory(params ReadOnlySpan<GuestRegion> regions)
    {
        ulong end = 0;
        foreach (GuestRegion region in regions)
        {
            ArgumentOutOfRangeException.ThrowIfZero(region.Length);
            ArgumentOutOfRangeException.ThrowIfLessThan(region.Start.Value, end);
            end = checked(region.Start.Value + region.Length);
        }

        _regions = regions.ToArray();
    }

    /// <summary>The regions, sorted by start.</summary>
    public ReadOnlySpan<GuestRegion> Regions => _regions;

    /// <summary>Bytes of memory in all regions.</summary>
    public ulong Size
    {
        get
        {
            ulong size = 0;
            foreach (GuestRegion region in _regions)
            {
                size += region.Length;
            }

            return size;
        }
    }

    /// <summary>Is every byte of [address, address + length) memory, within one region?</summary>
    public bool Contains(GuestAddress address, ulong length) => TryGetPointer(address, length, out _);

    /// <summary>Finds where a range lies in this process, for callers that hand it to the kernel (iovec, io_uring)
    /// or that need atomic access to a ring. An empty range is found if its address is.</summary>
    public bool TryGetPointer(GuestAddress address, ulong length, out byte* pointer)
    {
        foreach (ref readonly GuestRegion region in _regions.AsSpan())
        {
            // One bounds check, written so that it cannot overflow: an address below the region makes a huge offset.
            ulong offset = address.Value - region.Start.Value;
            if (offset < region.Length && length <= region.Length - offset)
            {
                // SAFETY: offset + length <= region.Length, and the mapping outlives this object (GuestRegion.Host).
                pointer = (byte*)region.Host + offset;
                return true;
            }
        }

        pointer = null;
        return false;
    }

    /// <summary>As <see cref="TryGetPointer"/>, for callers that only pass the address on.</summary>
    public bool TryGetAddress(GuestAddress address, ulong length, out nint found)
    {
        bool isMemory = TryGetPointer(address, length, out byte* pointer);
        found = (nint)pointer;
        return isMemory;
    }

    /// <summary>Copies one value out of guest memory, fetched once.</summary>
    public bool TryRead<T>(GuestAddress address, out T value)
        where T : unmanaged
    {
        if (!TryGetPointer(address, (ulong)sizeof(T), out byte* pointer))
        {
            value = default;
            return false;
        }

        // SAFETY: in bounds as just checked. ReadUnaligned of up to 8 bytes compiles to a single load.
        value = Unsafe.ReadUnaligned<T>(pointer);
        return true;
    }

    /// <summary>Stores one value.</summary>
    public bool TryWrite<T>(GuestAddress address, T value)
        where T : unmanaged
    {
        if (!TryGetPointer(address, (ulong)sizeof(T), out byte* pointer))
        {
            return false;
        }

        // SAFETY: in bounds as just checked.
        Unsafe.WriteUnaligned(pointer, value);
        return true;
    }

    /// <summary>Copies guest memory out, all of <paramref name="destination"/> or nothing.</summary>
    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        if (!TryGetPointer(address, (ulong)destination.Length, out byte* pointer))
        {
            return false;
        }

        // SAFETY: in bounds as just checked; the copy races with the guest, which can only spoil its own data.
        new ReadOnlySpan<byte>(pointer, destination.Length).CopyTo(destination);
        return true;
    }

    /// <summary>Copies into guest memory, all of <paramref name="source"/> or nothing.</summary>
    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        if (!TryGetPointer(address, (ulong)source.Length, out byte* pointer))
        {
            return false;
        }

        // SAFETY: as above.
        source.CopyTo(new Span<byte>(pointer, source.Length));
        return true;
    }

    /// <summary>As <see cref="TryRead{T}"/> for the VMM's own use.</summary>
    /// <exception cref="GuestMemoryException">There is no memory at that address.</exception>
    public T Read<T>(GuestAddress address)
        where T : unmanaged
    {
        if (!TryRead(address, out T value))
        {
            Throw(address, (ulong)sizeof(T));
        }

        return value;
    }

    /// <summary>As <see cref="TryWrite{T}"/> for the VMM's own use.</summary>
    /// <exception cref="GuestMemoryException">There is no memory at that address.</exception>
    public void Write<T>(GuestAddress address, T value)
        where T : unmanaged
    {
        if (!TryWrite(address, value))
        {
            Throw(address, (ulong)sizeof(T));
        }
    }

    /// <inheritdoc cref="Read{T}"/>
    public void Read(GuestAddress address, Span<byte> destination)
    {
        if (!TryRead(address, destination))
        {
            Throw(address, (ulong)destination.Length);
        }
    }

    /// <inheritdoc cref="Write{T}"/>
    public void Write(GuestAddress address, ReadOnlySpan<byte> source)
    {
        if (!TryWrite(address, source))
        {
            Throw(address, (ulong)source.Length);
        }
    }

    [DoesNotReturn]
    private static void Throw(GuestAddress address, ulong length) => throw new GuestMemoryException(address, length);
}

/// <summary>The VMM itself (never the guest) asked for guest memory that is not there, for instance while it loads
/// a kernel. Devices use the Try methods, for which a bad address is an ordinary answer.</summary>
public sealed class GuestMemoryException(GuestAddress address, ulong length)
    : Exception($"no guest memory for {length} bytes at {address}");

/// <summary>One stretch of guest-physical memory and where it lies in this process.</summary>
/// <param name="Start">First guest-physical address.</param>
/// <param name="Length">Bytes; at least 1. Start + Length does not pass 2^64.</param>
/// <param name="Host">Where the first byte lies in this process. The mapping belongs to whoever made it and must
/// outlive the <see cref="GuestMemory"/>.</param>
public readonly record struct GuestRegion(GuestAddress Start, ulong Length, nint Host)
{
    /// <summary>First address behind the region.</summary>
    public GuestAddress End => Start + Length;
}
