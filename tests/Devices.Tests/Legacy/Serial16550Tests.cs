using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;

namespace Vmm.Devices.Tests.Legacy;

public sealed class Serial16550Tests
{
    private const int RbrThr = 0, Ier = 1, IirFcr = 2, Lcr = 3, Mcr = 4, Lsr = 5, Msr = 6, Scr = 7;
    private const byte Received = 0x01, TransmitterEmpty = 0x02, LineStatus = 0x04, ModemStatus = 0x08;

    private readonly LimitedOutput _output = new();
    private readonly RecordingLine _line = new();
    private readonly Serial16550 _port;

    public Serial16550Tests() => _port = new Serial16550("COM1", _output, _line);

    [Fact]
    public void After_reset_it_is_idle_with_the_cable_plugged_in()
    {
        Assert.Equal(0x00, _port.Read(Ier));
        Assert.Equal(0x01, _port.Read(IirFcr));
        Assert.Equal(0x00, _port.Read(Lcr));
        Assert.Equal(0x00, _port.Read(Mcr));
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0xb0, _port.Read(Msr));
        Assert.False(_line.Level);
    }

    [Theory]
    [InlineData(Ier, 0x0f)]
    [InlineData(Lcr, 0xff)]
    [InlineData(Mcr, 0x1f)]
    [InlineData(Scr, 0xff)]
    public void Registers_keep_the_bits_that_they_have(int register, int mask)
    {
        for (int value = 255; value >= 0; value--)
        {
            _port.Write((ulong)register, (byte)value);
            if (register == Lcr)
            {
                Assert.Equal(value, _port.Read(Lcr));
                continue;
            }

            Assert.Equal(value & mask, _port.Read((ulong)register));
        }
    }

    [Fact]
    public void The_divisor_is_behind_DLAB_and_leaves_the_data_alone()
    {
        _port.Write(Lcr, 0x80);
        _port.Write(0, 0x34);
        _port.Write(1, 0x12);
        Assert.Equal((0x34, 0x12), (_port.Read(0), _port.Read(1)));
        _port.Write(Lcr, 0x03);
        Assert.Equal((0, 0), (_port.Read(0), _port.Read(1)));
        Assert.Empty(_output.Bytes);
    }

    [Fact]
    public void A_wide_access_touches_neighbouring_registers_and_stops_at_the_last()
    {
        _port.Write(Mcr, 0x5a_00_00_03UL, 4);               // MCR, LSR, MSR, SCR
        Assert.Equal(0x03, _port.Read(Mcr));
        Assert.Equal(0x5a, _port.Read(Scr));
        Assert.Equal(0x5a_b0_60_03UL, _port.Read(Mcr, 4));
        Assert.Equal(0xffff_ff5aUL, _port.Read(Scr, 4));
        Assert.Equal(0xffUL, _port.Read(ulong.MaxValue, 1));
        _port.Write(8, 1);
    }

    [Fact]
    public void Register_names_follow_DLAB_and_direction()
    {
        Assert.Equal(
            ["RBR", "IER", "IIR", "LCR", "MCR", "LSR", "MSR", "SCR", null],
            Enumerable.Range(0, 9).Select(i => _port.RegisterName((ulong)i, write: false)));
        Assert.Equal(["THR", "IER", "FCR"], Enumerable.Range(0, 3).Select(i => _port.RegisterName((ulong)i, true)));
        _port.Write(Lcr, 0x80);
        Assert.Equal(["DLL", "DLM"], Enumerable.Range(0, 2).Select(i => _port.RegisterName((ulong)i, true)));
    }

    /// <summary>The order of accesses of Linux 6.1, drivers/tty/serial/8250/8250_port.c, with variants probed.</summary>
    [Fact]
    public void Linux_finds_a_16550A()
    {
        _port.Write(Ier, 0);
        Assert.Equal(0, _port.Read(Ier));
        _port.Write(Ier, 0x0f);
        Assert.Equal(0x0f, _port.Read(Ier));
        _port.Write(Ier, 0);

        _port.Write(Mcr, 0x10 | 0x0a);                      // LOOP test
        Assert.Equal(0x90, _port.Read(Msr) & 0xf0);
        _port.Write(Mcr, 0);

        _port.Write(Lcr, 0xbf);
        _port.Write(IirFcr, 0);
        _port.Write(Lcr, 0);
        _port.Write(IirFcr, 0x01);
        Assert.Equal(3, _port.Read(IirFcr) >> 6);

        _port.Write(Lcr, 0x80);                             // no EFR in any place
        Assert.NotEqual(0, _port.Read(IirFcr));
        _port.Write(Lcr, 0xbf);
        Assert.NotEqual(0, _port.Read(IirFcr));

        _port.Write(Lcr, 0);                                // not National's SuperIO
        byte mcr = _port.Read(Mcr);
        _port.Write(Lcr, 0xe0);
        int before = _port.Read(IirFcr) ^ mcr;
        _port.Write(Lcr, 0);
        _port.Write(Mcr, (byte)(mcr ^ 0x10));
        _port.Write(Lcr, 0xe0);
        Assert.Equal(0, before & 0x10);
        Assert.Equal(0, (_port.Read(IirFcr) ^ mcr) & 0x10);
        _port.Write(Lcr, 0);
        _port.Write(Mcr, mcr);

        foreach (byte lcr in new byte[] { 0, 0x80 })        // not a 16750
        {
            _port.Write(Lcr, lcr);
            _port.Write(IirFcr, 0x21);
            Assert.Equal(6, _port.Read(IirFcr) >> 5);
            _port.Write(IirFcr, 0x01);
        }

        _port.Write(Lcr, 0);
        _port.Write(Ier, 0x40);                             // not an XScale
        Assert.Equal(0, _port.Read(Ier));

        Assert.Equal(16, SizeOfFifo());
        Assert.Empty(_output.Bytes);

        // serial8250_do_startup: does THRE come again when its interrupt is turned on again?
        _port.Write(Mcr, 0x08);
        for (int i = 0; i < 2; i++)
        {
            _port.Write(Ier, TransmitterEmpty);
            Assert.Equal(0xc2, _port.Read(IirFcr));
            Assert.Equal(0xc1, _port.Read(IirFcr));
            _port.Write(Ier, 0);
        }
    }

    private int SizeOfFifo()
    {
        _port.Write(Lcr, 0);
        _port.Write(IirFcr, 0x07);
        _port.Write(Mcr, 0x10);
        _port.Write(Lcr, 0x03);
        for (int i = 0; i < 256; i++)
        {
            _port.Write(RbrThr, (byte)i);
        }

        int count = 0;
        while (count < 256 && (_port.Read(Lsr) & 0x01) != 0)
        {
            Assert.Equal(count, _port.Read(RbrThr));
            count++;
        }

        _port.Write(Mcr, 0);
        return count;
    }

    [Fact]
    public void Loopback_turns_modem_outputs_into_inputs_and_shows_what_changed()
    {
        int[] expected = [0x00, 0x20, 0x10, 0x30, 0x40, 0x60, 0x50, 0x70, 0x80, 0xa0, 0x90, 0xb0, 0xc0, 0xe0, 0xd0, 0xf0];
        byte lines = 0xb0;
        _port.Write(Ier, ModemStatus);
        for (int outputs = 15; outputs >= 0; outputs--)
        {
            _port.Write(Mcr, (byte)(0x10 | outputs));
            byte now = (byte)expected[outputs];
            int changed = lines ^ now;
            int deltas = ((changed >> 4) & 0x0b) | ((changed & lines & 0x40) >> 4);
            Assert.Equal(deltas != 0, _line.Level);
            Assert.Equal(deltas != 0 ? 0x00 : 0x01, _port.Read(IirFcr));
            Assert.Equal(now | deltas, _port.Read(Msr));
            Assert.False(_line.Level);
            Assert.Equal(now, _port.Read(Msr));
            lines = now;
        }
    }

    [Fact]
    public void Loopback_overruns_like_the_chip_and_leaves_nothing_behind()
    {
        _port.Write(Mcr, 0x10);
        _port.Write(Ier, LineStatus);
        _port.Write(RbrThr, 1);
        Assert.False(_line.Level);
        _port.Write(RbrThr, 2);                             // without FIFOs there is room for one
        Assert.True(_line.Level);
        Assert.Equal(0x06, _port.Read(IirFcr));
        Assert.Equal(0x63, _port.Read(Lsr));
        Assert.Equal(0x61, _port.Read(Lsr));
        _port.Write(IirFcr, 0x01);
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0, _port.Receive([9]));
    }

    [Fact]
    public void Interrupts_are_identified_by_priority()
    {
        _port.Write(IirFcr, 0x01);
        _port.Write(Mcr, 0x10);                             // modem lines change
        _port.Write(Mcr, 0x00);
        _port.Write(Ier, 0x0f);                             // THRE is up
        Assert.True(_port.ReceiveBreak());
        Assert.True(_line.Level);
        Assert.Equal(0xc6, _port.Read(IirFcr));             // line status
        Assert.Equal(0xf1, _port.Read(Lsr));                // DR, break, idle, error in FIFO
        Assert.Equal(0xc4, _port.Read(IirFcr));             // received data, trigger level 1
        Assert.Equal(0, _port.Read(RbrThr));
        Assert.Equal(0xc2, _port.Read(IirFcr));             // transmitter; reading it clears it
        Assert.Equal(0xc0, _port.Read(IirFcr));             // modem status
        Assert.True(_line.Level);
        _port.Read(Msr);
        Assert.Equal(0xc1, _port.Read(IirFcr));
        Assert.False(_line.Level);
    }

    [Theory]
    [InlineData(0x01, 1)]
    [InlineData(0x41, 4)]
    [InlineData(0x81, 8)]
    [InlineData(0xc1, 14)]
    public void Below_the_trigger_level_data_is_announced_as_timeout(byte fcr, int level)
    {
        _port.Write(IirFcr, fcr);
        _port.Write(Ier, Received);
        for (int count = 1; count <= 16; count++)
        {
            Assert.Equal(1, _port.Receive([(byte)count]));
            Assert.Equal(count >= level ? 0xc4 : 0xcc, _port.Read(IirFcr));
            Assert.True(_line.Level);
        }

        Assert.Equal(0, _port.Receive([17]));
        for (int count = 1; count <= 16; count++)
        {
            Assert.Equal(count, _port.Read(RbrThr));
        }

        Assert.False(_line.Level);
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0, _port.Read(RbrThr));
    }

    [Fact]
    public void Without_FIFOs_one_byte_is_taken_at_a_time()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        _port.Write(Ier, Received);
        Assert.Equal(1, _port.Receive([1, 2]));
        Assert.Equal(0x04, _port.Read(IirFcr));
        Assert.Equal(0, wakes);
        Assert.Equal(1, _port.Read(RbrThr));
        Assert.Equal(1, wakes);
    }

    [Fact]
    public void The_sender_is_woken_once_all_is_read_and_only_if_it_waits()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        _port.Write(IirFcr, 0x01);
        _port.Write(Ier, Received);
        Assert.Equal(3, _port.Receive([1, 2, 3]));
        for (int i = 0; i < 3; i++)
        {
            _port.Read(RbrThr);
        }

        Assert.Equal(0, wakes);
        Assert.Equal(16, _port.Receive(new byte[20]));
        for (int i = 0; i < 15; i++)
        {
            _port.Read(RbrThr);
        }

        Assert.Equal(0, wakes);
        _port.Read(RbrThr);
        Assert.Equal(1, wakes);
        _port.Read(RbrThr);
        Assert.Equal(1, wakes);
    }

    [Fact]
    public void Nothing_arrives_before_the_guest_listens()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        Assert.Equal(0, _port.Receive([1]));
        Assert.False(_port.ReceiveBreak());
        Assert.Equal(0x60, _port.Read(Lsr));
        _port.Write(Ier, Received);
        Assert.Equal(1, wakes);
        Assert.Equal(1, _port.Receive([1]));
    }

    [Fact]
    public void A_guest_that_polls_is_listening()
    {
        int wakes = 0;
        _port.InputSpaceAvailable += () => wakes++;
        Assert.Equal(0, _port.Receive([7]));
        for (int i = 0; i < 8; i++)
        {
            _port.Read(Lsr);
        }

        Assert.Equal(1, wakes);
        Assert.Equal(1, _port.Receive([7]));
        Assert.Equal(0x61, _port.Read(Lsr));
        Assert.Equal(7, _port.Read(RbrThr));
        Assert.False(_line.Level);
    }

    [Fact]
    public void A_guest_that_waits_to_send_is_not()
    {
        for (int i = 0; i < 100; i++)
        {
            _port.Read(Lsr);
            _port.Write(RbrThr, (byte)i);
        }

        Assert.Equal(0, _port.Receive([7]));
    }

    [Fact]
    public void Resetting_the_FIFO_keeps_input_until_the_driver_is_done()
    {
        _port.Write(IirFcr, 0x01);
        _port.Write(Ier, Received);
        Assert.Equal(4, _port.Receive([1, 2, 3, 4]));
        Assert.Equal(1, _port.Read(RbrThr));

        _port.Write(Ier, 0);                                // as Linux closes and opens the port
        foreach (byte fcr in new byte[] { 0x01, 0x07, 0x00 })
        {
            _port.Write(IirFcr, fcr);
        }

        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.Equal(0, _port.Read(RbrThr));
        _port.Write(Ier, Received);
        _port.Write(IirFcr, 0x01);
        _port.Write(IirFcr, 0x81);
        Assert.Equal([2, 3, 4], Enumerable.Range(0, 3).Select(_ => (int)_port.Read(RbrThr)));
        Assert.Equal(0x60, _port.Read(Lsr));
    }

    [Fact]
    public void A_full_output_holds_the_transmitter_until_it_drained()
    {
        _output.Room = 3;
        _port.Write(IirFcr, 0x01);
        _port.Write(Ier, TransmitterEmpty);
        foreach (byte value in "abcdefgh"u8)
        {
            _port.Write(RbrThr, value);
        }

        Assert.Equal("abc", Encoding.ASCII.GetString([.. _output.Bytes]));
        Assert.Equal(0x00, _port.Read(Lsr));
        Assert.False(_line.Level);
        Assert.Equal(0xc1, _port.Read(IirFcr));

        _output.Room = 2;
        _port.OutputDrained();
        Assert.Equal(0x00, _port.Read(Lsr));
        _output.Room = 100;
        _port.OutputDrained();
        Assert.Equal("abcdefgh", Encoding.ASCII.GetString([.. _output.Bytes]));
        Assert.Equal(0x60, _port.Read(Lsr));
        Assert.True(_line.Level);
        Assert.Equal(0xc2, _port.Read(IirFcr));
        _port.OutputDrained();
        Assert.Equal(0, _port.OutputLost);
    }

    [Fact]
    public void A_guest_that_writes_on_and_on_loses_only_what_is_beyond_the_bound()
    {
        _output.Room = 0;
        for (int i = 0; i < 3000; i++)
        {
            _port.Write(RbrThr, (byte)i);
        }

        Assert.Equal(3000 - 1024, _port.OutputLost);
        _output.Room = 700;
        _port.OutputDrained();
        for (int i = 1024; i < 1024 + 700; i++)             // the ring wraps
        {
            _port.Write(RbrThr, (byte)i);
        }

        _output.Room = 5000;
        _port.OutputDrained();
        Assert.Equal(Enumerable.Range(0, 1724).Select(i => (byte)i), _output.Bytes);
    }

    [Fact]
    public void An_output_that_returns_a_wrong_length_does_no_harm()
    {
        var port = new Serial16550("COM1", new LyingOutput(), _line);
        for (int i = 0; i < 100; i++)
        {
            port.Write(RbrThr, (byte)i);
            port.OutputDrained();
        }
    }

    private sealed class LyingOutput : ISerialOutput
    {
        private int _calls;

        public int Write(ReadOnlySpan<byte> bytes) => _calls++ % 2 == 0 ? -5 : 5000;
    }

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
