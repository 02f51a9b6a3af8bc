using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Guest.Tests.Harness;

/// <summary>Code for small guests that drives virtio devices on the mmio transport (virtio 1.2, 4.2.2), without interrupts. It
/// uses RAX and RBX.</summary>
internal static class AssembledVirtio
{
    public const uint In = 0, Out = 1, Flush = 4;       // VIRTIO_BLK_T_*

    private const uint Window = 0xd100_0000, Stride = 0x1000;
    private const int QueueSize = 8, PerRequest = 3;

    /// <summary>Makes a device ready, with its first queues.</summary>
    /// <param name="features">Of the device's own, that are taken.</param>
    public static void Start(Assembler code, int device, int queues, uint features = 0)
    {
        code.mov(ebx, Window + ((uint)device * Stride));
        Set(code, 0x70, 0);
        Set(code, 0x70, 1 | 2);
        Set(code, 0x24, 1);
        Set(code, 0x20, 1);             // VIRTIO_F_VERSION_1
        Set(code, 0x24, 0);
        Set(code, 0x20, features);
        Set(code, 0x70, 1 | 2 | 8);
        for (int queue = 0; queue < queues; queue++)
        {
            uint area = Area(device, queue);
            Set(code, 0x30, (uint)queue);
            Set(code, 0x38, QueueSize);
            Set(code, 0x80, area);
            Set(code, 0x84, 0);
            Set(code, 0x90, area + 0x1000);
            Set(code, 0x94, 0);
            Set(code, 0xa0, area + 0x2000);
            Set(code, 0xa4, 0);
            Set(code, 0x44, 1);
        }

        Set(code, 0x70, 1 | 2 | 8 | 4);
    }

    /// <summary>Sends one request and waits until it has been used.</summary>
    /// <param name="number">Of the requests on this queue; from 0.</param>
    /// <param name="parts">What the device reads, then how many bytes it may write into each of those behind; at most three in all.
    /// </param>
    public static void Request(Assembler code, int device, int queue, int number, byte[][] parts, params int[] room)
    {
        uint area = Area(device, queue), buffer = area + 0x3000 + ((uint)number * 0x400);
        int count = parts.Length + room.Length;
        for (int i = 0; i < count; i++)
        {
            uint descriptor = area + (16 * (uint)((number * PerRequest) + i));
            int length = i < parts.Length ? parts[i].Length : room[i - parts.Length];
            for (int at = 0; i < parts.Length && at < length; at += 4)
            {
                byte[] word = new byte[4];
                parts[i].AsSpan(at, Math.Min(4, length - at)).CopyTo(word);
                code.mov(__dword_ptr[buffer + (uint)at], BitConverter.ToUInt32(word));
            }

            uint flags = (i < parts.Length ? 0u : 2) | (i < count - 1 ? 1u : 0);        // VIRTQ_DESC_F_WRITE and _NEXT
            code.mov(__dword_ptr[descriptor], buffer);
            code.mov(__dword_ptr[descriptor + 4], 0);
            code.mov(__dword_ptr[descriptor + 8], (uint)length);
            code.mov(__dword_ptr[descriptor + 12], flags | ((uint)((number * PerRequest) + i + 1) << 16));
            buffer += (uint)length + 3 & ~3u;
        }

        Send(code, device, queue, number);
    }

    /// <summary>Gives the device a stretch of memory to write into and waits until it has been used. No other request goes to the queue.
    /// </summary>
    public static void Offer(Assembler code, int device, int queue, uint address, uint length)
    {
        uint descriptor = Area(device, queue);
        code.mov(__dword_ptr[descriptor], address);
        code.mov(__dword_ptr[descriptor + 4], 0);
        code.mov(__dword_ptr[descriptor + 8], length);
        code.mov(__dword_ptr[descriptor + 12], 2);
        Send(code, device, queue, 0);
    }

    private static void Send(Assembler code, int device, int queue, int number)
    {
        uint area = Area(device, queue);
        code.mov(__word_ptr[area + 0x1000 + 4 + (2 * (uint)number)], (short)(number * PerRequest));
        code.mov(__dword_ptr[area + 0x1000], 1u | ((uint)(number + 1) << 16));          // VIRTQ_AVAIL_F_NO_INTERRUPT, idx
        code.mov(ebx, Window + ((uint)device * Stride));
        Set(code, 0x50, (uint)queue);
        Label wait = code.CreateLabel();
        code.Label(ref wait);
        code.pause();
        code.cmp(__word_ptr[area + 0x2000 + 2], (short)(number + 1));
        code.jne(wait);
    }

    /// <summary>virtio 1.2, 5.2.6: the head of a request to a disk.</summary>
    public static byte[] DiskHead(uint type, ulong sector) => [.. BitConverter.GetBytes((ulong)type), .. BitConverter.GetBytes(sector)];

    /// <summary>virtio 1.2, 5.10.6: a packet without data to the host.</summary>
    public static byte[] VsockHead(uint cid, uint fromPort, uint toPort, ushort operation) =>
    [
        .. BitConverter.GetBytes((ulong)cid), .. BitConverter.GetBytes(2UL), .. BitConverter.GetBytes(fromPort),
        .. BitConverter.GetBytes(toPort), 0, 0, 0, 0, 1, 0, .. BitConverter.GetBytes(operation), 0, 0, 0, 0,
        .. BitConverter.GetBytes(65536), 0, 0, 0, 0,
    ];

    private static uint Area(int device, int queue) => 0x40_0000 + ((uint)device * 0x2_0000) + ((uint)queue * 0x4000);

    private static void Set(Assembler code, int register, uint value) => code.mov(__dword_ptr[rbx + register], value);
}
