using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;

namespace Vmm.Bench.Operations;

/// <summary>The serial port: a character out, and what a driver asks before each.</summary>
internal static class SerialOperations
{
    public const string Group = "Serial16550";

    public static IReadOnlyList<OperationEntry> All { get; } =
    [
        new(Group, "character out (THR)", () => new Character(askFirst: false)),
        new(Group, "status (LSR) and character out", () => new Character(askFirst: true)),
    ];

    private sealed class Character(bool askFirst) : Operation, ISerialOutput, IInterruptLine
    {
        private const ulong Thr = 0, Lsr = 5;
        private Serial16550? _port;
        private long _sent;

        public override void Run(int count)
        {
            Serial16550 port = _port ??= new Serial16550("COM1", this, this);
            Span<byte> status = stackalloc byte[1];
            ReadOnlySpan<byte> character = "x"u8;
            long before = _sent;
            for (int i = 0; i < count; i++)
            {
                if (askFirst)
                {
                    port.Read(Lsr, status);
                }

                port.Write(Thr, character);
            }

            if (_sent - before != count)
            {
                throw new InvalidOperationException("the port lost characters");
            }
        }

        public int Write(ReadOnlySpan<byte> bytes)
        {
            _sent += bytes.Length;
            return bytes.Length;
        }

        public void SetLevel(bool asserted)
        {
        }
    }
}
