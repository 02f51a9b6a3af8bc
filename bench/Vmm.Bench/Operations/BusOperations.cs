using Vmm.Devices.Bus;

namespace Vmm.Bench.Operations;

/// <summary>Who answers at an address, among 1, 16 and 256 devices.</summary>
internal static class BusOperations
{
    public const string Group = "AddressBus";
    private const ulong First = 0xd000_0000, Stride = 0x1000, Length = 0x200;

    public static IReadOnlyList<OperationEntry> All { get; } =
    [
        .. ((int[])[1, 16, 256]).SelectMany(devices => (OperationEntry[])
        [
            new(Group, $"find, {devices} devices", () => new Find(devices)),
            new(Group, $"write 4 bytes, {devices} devices", () => new Write(devices)),
        ]),
        new(Group, "read 4 bytes where nobody is", () => new ReadNobody()),
    ];

    private static AddressBus Bus(int devices)
    {
        var bus = new AddressBus("mmio");
        for (int i = 0; i < devices; i++)
        {
            bus.Add(First + ((ulong)i * Stride), Length, new Sink());
        }

        return bus;
    }

    /// <summary>Goes round the devices by a step that is odd, so that the way through the table is not the same each
    /// time and comes to all.</summary>
    private static ulong AddressOf(int turn, int devices) =>
        First + ((uint)(turn * 97 % devices) * Stride) + (((uint)turn * 4) % Length);

    private sealed class Find(int devices) : Operation
    {
        private readonly AddressBus _bus = Bus(devices);

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                if (_bus.Find(AddressOf(i, devices)) is null)
                {
                    throw new InvalidOperationException("the bus lost a device");
                }
            }
        }
    }

    private sealed class Write(int devices) : Operation
    {
        private readonly AddressBus _bus = Bus(devices);

        public override void Run(int count)
        {
            Span<byte> data = stackalloc byte[4];
            for (int i = 0; i < count; i++)
            {
                _bus.Write(AddressOf(i, devices), data);
            }
        }
    }

    private sealed class ReadNobody : Operation
    {
        private readonly AddressBus _bus = Bus(16);

        public override void Run(int count)
        {
            Span<byte> data = stackalloc byte[4];
            for (int i = 0; i < count; i++)
            {
                _bus.Read(First + Length, data);
            }
        }
    }
}
