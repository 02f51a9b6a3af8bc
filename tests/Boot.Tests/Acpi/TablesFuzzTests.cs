using Vmm.Boot.Acpi;
using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests.Acpi;

/// <summary>The input of the tables comes from the user: CPUs, memory, devices. Whatever it is, the tables stay in
/// their room and their sums are right, or there is one exception that says why.</summary>
public sealed class TablesFuzzTests
{
    private const ulong At = 0xe0000;
    private const int Room = 0x1_0000;

    [Fact]
    public void Half_a_million_machines_are_described_in_MP_tables_or_refused()
    {
        using var test = new TestMemory(2 << 20);
        byte[] after = new byte[16], table = new byte[Room];
        var random = new Random(71);
        int refused = 0;
        for (int i = 0; i < 500_000; i++)
        {
            int room = random.Next(4) == 0 ? random.Next(8192) : 8192;
            var options = new MpTableOptions { Cpus = Any(random, 300), PciInterrupts = Interrupts(random) };
            try
            {
                int length = MpTable.Write(test.Memory, new GuestAddress(At), room, options);
                test.Memory.Read(new GuestAddress(At + (ulong)length), after);
                if (length > room || after.AsSpan().ContainsAnyExcept((byte)0))
                {
                    Assert.Fail($"input {i}: {length} bytes in a room of {room}, or something behind them");
                }

                Span<byte> written = table.AsSpan(0, length);
                test.Memory.Read(new GuestAddress(At), written);
                AssertSum(written[..16], i);
                AssertSum(written[16..], i);
                written.Clear();
                test.Memory.Write(new GuestAddress(At), written);
            }
            catch (ArgumentException)
            {
                refused++;
            }
        }

        Assert.InRange(refused, 5_000, 400_000);
    }

    /// <summary>Tens of microseconds each: a hundred thousand.</summary>
    [Fact]
    public void A_hundred_thousand_machines_are_described_by_ACPI_or_refused()
    {
        using var test = new TestMemory(2 << 20);
        byte[] rsdp = new byte[AcpiTables.RsdpLength], header = new byte[36];
        byte[] after = new byte[16];
        var random = new Random(73);
        int refused = 0;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100_000; i++)
        {
            int room = random.Next(4) == 0 ? random.Next(Room) : Room;
            AcpiOptions options = Options(random);
            try
            {
                if (!AcpiTables.TryWrite(test.Memory, new GuestAddress(At), room, options, out int length))
                {
                    refused++;
                    continue;
                }

                test.Memory.Read(new GuestAddress(At + (ulong)length), after);
                if (length > room || after.AsSpan().ContainsAnyExcept((byte)0))
                {
                    Assert.Fail($"input {i}: {length} bytes in a room of {room}, or something behind them");
                }

                test.Memory.Read(new GuestAddress(At), rsdp);
                AssertSum(rsdp, i);
                ulong xsdt = BitConverter.ToUInt64(rsdp, 24);
                test.Memory.Read(new GuestAddress(xsdt), header);
                uint xsdtLength = BitConverter.ToUInt32(header, 4);
                if (xsdt < At || xsdt + xsdtLength > At + (ulong)length || !header.AsSpan().StartsWith("XSDT"u8))
                {
                    Assert.Fail($"input {i}: the XSDT is not where the RSDP says");
                }

                byte[] zeros = new byte[length];
                test.Memory.Write(new GuestAddress(At), zeros);
            }
            catch (ArgumentException)
            {
                refused++;
            }
        }

        Assert.InRange((GC.GetAllocatedBytesForCurrentThread() - before) / 100_000, 0, 512 << 10);
        Assert.InRange(refused, 1_000, 90_000);
    }

    private static AcpiOptions Options(Random random) => new()
    {
        Cpus = random.Next(16) == 0 ? Any(random, 300) : random.Next(1, 9),
        VirtioMmio = [.. Enumerable.Range(0, random.Next(4)).Select(_ => new AcpiVirtioMmio((uint)random.NextInt64(), 0x1000, random.Next(24)))],
        Pci = random.Next(4) == 0 ? null : new AcpiPci
        {
            Ecam = new GuestAddress(random.Next(4) == 0 ? (ulong)random.NextInt64() : 0xe000_0000),
            Window32 = (0xc000_0000, random.Next(4) == 0 ? 0 : 0x1000_0000UL),
            Window64 = random.Next(4) switch
            {
                0 => (0, 0),
                1 => ((ulong)random.NextInt64(), (ulong)random.NextInt64()),
                _ => (1UL << 32, 1UL << random.Next(12, 45)),
            },
            Interrupts = Interrupts(random),
        },
    };

    private static PciInterrupt[] Interrupts(Random random) =>
        [.. Enumerable.Range(0, random.Next(random.Next(8) == 0 ? 32 : 4)).Select(_ =>
            new PciInterrupt(random.Next(32), random.Next(4), random.Next(24)))];

    private static int Any(Random random, int usual) => random.Next(8) switch
    {
        0 => random.Next(int.MinValue, int.MaxValue),
        1 => random.Next(-2, 2),
        _ => random.Next(1, usual),
    };

    private static void AssertSum(ReadOnlySpan<byte> bytes, int input)
    {
        if (Checksum.Of(bytes) != 0)
        {
            Assert.Fail($"input {input}: a checksum is wrong");
        }
    }
}
