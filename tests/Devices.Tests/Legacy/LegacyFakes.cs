using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Legacy;

internal sealed class RecordingLine : IInterruptLine
{
    public bool Level { get; private set; }
    public int Rises { get; private set; }

    public void SetLevel(bool asserted)
    {
        Rises += asserted && !Level ? 1 : 0;
        Level = asserted;
    }
}

internal sealed class RecordingPower : IPowerControl
{
    public int Resets { get; private set; }
    public int PowerOffs { get; private set; }
    public List<byte> Exits { get; } = [];

    /// <summary>For each press of the button: whether the guest listens to it.</summary>
    public List<bool> Panics { get; } = [];

    public void RequestReset() => Resets++;
    public void RequestPowerOff() => PowerOffs++;
    public void RequestExit(byte code) => Exits.Add(code);
    public void ReportPanic(bool handledByGuest) => Panics.Add(handledByGuest);
}

/// <summary>Takes as much as there is room for.</summary>
internal sealed class LimitedOutput : ISerialOutput
{
    public int Room { get; set; } = int.MaxValue;
    public List<byte> Bytes { get; } = [];

    public int Write(ReadOnlySpan<byte> bytes)
    {
        int taken = Math.Min(Room, bytes.Length);
        Room -= taken;
        Bytes.AddRange(bytes[..taken]);
        return taken;
    }
}

internal sealed class ManualClock(DateTimeOffset start) : TimeProvider
{
    public DateTimeOffset Now { get; set; } = start;
    public long Ticks { get; set; }

    public override DateTimeOffset GetUtcNow() => Now;
    public override long GetTimestamp() => Ticks;
    public override long TimestampFrequency => 1_000_000_000;
}

internal static class BusDeviceExtensions
{
    public static byte Read(this IBusDevice device, ulong offset)
    {
        Span<byte> data = [0xff];
        device.Read(offset, data);
        return data[0];
    }

    public static void Write(this IBusDevice device, ulong offset, byte value) => device.Write(offset, [value]);

    /// <summary>A read of 1, 2, 4 or 8 bytes.</summary>
    public static ulong Read(this IBusDevice device, ulong offset, int width)
    {
        Span<byte> data = stackalloc byte[8];
        data[..width].Fill(0xff);
        device.Read(offset, data[..width]);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(data);
    }

    public static void Write(this IBusDevice device, ulong offset, ulong value, int width)
    {
        Span<byte> data = stackalloc byte[8];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(data, value);
        device.Write(offset, data[..width]);
    }

    /// <summary>A million seeded accesses of every width, to every offset and a little beyond; what they allocate.</summary>
    public static long Poke(this IBusDevice device, int seed, int count, ulong length, Action<Random>? between = null)
    {
        var random = new Random(seed);
        return Allocations.Least(() =>
        {
            Span<byte> data = stackalloc byte[8];
            for (int i = 0; i < count; i++)
            {
                Span<byte> part = data[..random.Next(1, 9)];
                ulong offset = (ulong)random.NextInt64((long)length);
                if (random.Next(2) == 0)
                {
                    part.Fill(0xff);
                    device.Read(offset, part);
                }
                else
                {
                    random.NextBytes(part);
                    if (random.Next(4) == 0)
                    {
                        part.Fill(random.Next(2) == 0 ? (byte)0 : (byte)0xff);
                    }

                    device.Write(offset, part);
                }

                between?.Invoke(random);
            }
        });
    }
}
