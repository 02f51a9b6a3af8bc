using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed partial class Serial16550Tests
{
    [Fact]
    public void A_million_random_accesses_neither_throw_nor_allocate()
    {
        var output = new Sink();
        var port = new Serial16550("COM1", output, _line);
        byte[] input = [1, 2, 3];
        long allocated = port.Poke(seed: 16550, count: 1_000_000, length: 10, between: random =>
        {
            output.Full = random.Next(4) == 0;
            switch (random.Next(16))
            {
                case 0:
                    port.Receive(input);
                    break;
                case 1:
                    port.ReceiveBreak();
                    break;
                case 2:
                    port.OutputDrained();
                    break;
            }
        });
        Assert.Equal(0, allocated);
    }

    private sealed class Sink : ISerialOutput
    {
        public bool Full { get; set; }

        public int Write(ReadOnlySpan<byte> bytes) => Full ? bytes.Length / 2 : bytes.Length;
    }

    /// <summary>Whatever is done to the port, its line says what IIR says, and its input comes out in order.</summary>
    [Fact]
    public void The_line_is_up_exactly_while_an_interrupt_is_pending()
    {
        Gen<(int, byte)> access = from register in Gen.Choose(0, 9)
                                  from value in Gen.Choose(0, 255)
                                  select (register, (byte)value);
        Prop.ForAll(access.ArrayOf().ToArbitrary(), accesses =>
        {
            var output = new LimitedOutput();
            var line = new RecordingLine();
            var port = new Serial16550("COM1", output, line);
            byte next = 0, expected = 0;
            foreach ((int register, byte value) in accesses)
            {
                if (register == 8)
                {
                    next += (byte)port.Receive([next]);
                }
                else if (register != Mcr)                   // loopback would mix the guest's own bytes in
                {
                    port.Write((ulong)register, value);
                }

                port.Write(Lcr, 0x03);
                while ((value & 0x80) != 0 && (port.Read(Lsr) & 1) != 0)
                {
                    Assert.Equal(expected++, port.Read(RbrThr));
                }

                bool level = line.Level;
                Assert.Equal(level, (port.Read(IirFcr) & 1) == 0);
            }
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Two_threads_lose_no_byte_in_either_direction()
    {
        const int Count = 50_000;
        var console = new BoundedConsole();
        var port = new Serial16550("COM1", console, new RecordingLine());
        using var space = new AutoResetEvent(false);
        port.InputSpaceAvailable += () => space.Set();
        bool inputDone = false;

        var outside = new Thread(() =>
        {
            var random = new Random(1);
            int sent = 0;
            byte[] chunk = new byte[40];
            while (sent < Count || !Volatile.Read(ref inputDone))
            {
                int length = Math.Min(random.Next(1, chunk.Length + 1), Count - sent);
                for (int i = 0; i < length; i++)
                {
                    chunk[i] = (byte)((sent + i) * 7);
                }

                int taken = length == 0 ? 0 : port.Receive(chunk.AsSpan(0, length));
                sent += taken;
                if (console.Drain())
                {
                    port.OutputDrained();
                }

                if (taken < length || length == 0)
                {
                    space.WaitOne(1);
                }
            }

            while (console.Drain())
            {
                port.OutputDrained();
            }
        });
        outside.Start();

        var rng = new Random(2);
        int written = 0, read = 0, idle = 0;
        port.Write(IirFcr, 0x81);
        port.Write(Ier, Received | TransmitterEmpty);
        while ((written < Count || read < Count) && idle < 30_000)
        {
            byte status = port.Read(Lsr);
            int before = written + read;
            for (int i = 0; i < 16 && (status & 0x20) != 0 && written < Count; i++)
            {
                port.Write(RbrThr, (byte)(written++ * 13));
            }

            while ((port.Read(Lsr) & 1) != 0)
            {
                Assert.Equal((byte)(read++ * 7), port.Read(RbrThr));
            }

            if (rng.Next(2000) == 0)                        // a driver closes and opens the port now and then
            {
                port.Write(Ier, 0);
                port.Write(IirFcr, 0x07);
                port.Write(IirFcr, 0x00);
                port.Read(RbrThr);
                port.Write(Ier, Received | TransmitterEmpty);
                port.Write(IirFcr, 0x81);
            }

            if (written + read == before)
            {
                idle++;
                Thread.Sleep(idle % 16 == 0 ? 1 : 0);
            }
            else
            {
                idle = 0;
            }
        }

        Volatile.Write(ref inputDone, true);
        outside.Join();
        Assert.Equal((Count, Count), (written, read));
        Assert.Equal(Count, console.Received);
        Assert.True(console.InOrder);
        Assert.Equal(0, port.OutputLost);
    }

    /// <summary>64 bytes of buffer, drained by the event loop.</summary>
    private sealed class BoundedConsole : ISerialOutput
    {
        private readonly Lock _lock = new();
        private int _held;

        public int Received { get; private set; }
        public bool InOrder { get; private set; } = true;

        public int Write(ReadOnlySpan<byte> bytes)
        {
            lock (_lock)
            {
                int taken = Math.Min(64 - _held, bytes.Length);
                foreach (byte value in bytes[..taken])
                {
                    InOrder &= value == (byte)(Received++ * 13);
                }

                _held += taken;
                return taken;
            }
        }

        public bool Drain()
        {
            lock (_lock)
            {
                bool any = _held > 0;
                _held = 0;
                return any;
            }
        }
    }
}
