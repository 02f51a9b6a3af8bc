using Vmm.Devices.Acpi;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Pci;
using Vmm.Devices.State;
using Vmm.Devices.Tests.Legacy;

namespace Vmm.Devices.Tests.State;

public enum LegacyKind
{
    Serial16550,
    I8042,
    Cmos,
    PowerManagement,
    ResetPort,
    Port92,
    FwCfg,
    PciConfigPorts,
}

/// <summary>A device of the PC, driven at random, saved, loaded into a fresh one: both go on alike.</summary>
public sealed class LegacyStateTests
{
    public static TheoryData<LegacyKind> All => [.. Enum.GetValues<LegacyKind>()];

    [Theory]
    [MemberData(nameof(All))]
    public void A_device_and_one_that_took_over_its_state_go_on_alike(LegacyKind kind)
    {
        for (int seed = 0; seed < 200; seed++)
        {
            var random = new Random(seed);
            var clock = new ManualClock(new DateTimeOffset(2026, 11, 26, 21, 0, 0, TimeSpan.Zero));
            var one = new Stand(kind, clock);
            for (int i = random.Next(300); i > 0; i--)
            {
                one.Step(random, other: null);
            }

            byte[] state = StateWriter.Save(one.State);
            var other = new Stand(kind, clock);
            StateReader.Load(state, "m", other.State);
            Assert.Equal(state, StateWriter.Save(other.State));
            other.TakeOutside(one);
            for (int i = 0; i < 300; i++)
            {
                one.Step(random, other);
            }

            Assert.Equal(StateWriter.Save(one.State), StateWriter.Save(other.State));
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_hostile_state_is_refused_by_name_or_behaves(LegacyKind kind)
    {
        int refused = 0, loaded = 0;
        for (int seed = 0; seed < 3000; seed++)
        {
            var random = new Random(seed);
            var clock = new ManualClock(new DateTimeOffset(2026, 11, 26, 21, 0, 0, TimeSpan.Zero));
            var one = new Stand(kind, clock);
            for (int i = random.Next(50); i > 0; i--)
            {
                one.Step(random, other: null);
            }

            byte[] state = StateMutation.Mutate(StateWriter.Save(one.State), random);
            var other = new Stand(kind, clock);
            try
            {
                StateReader.Load(state, "m", other.State);
                loaded++;
            }
            catch (StateException error)
            {
                Assert.StartsWith("m", error.Field, StringComparison.Ordinal);
                refused++;
                continue;
            }

            for (int i = 0; i < 100; i++)
            {
                other.Step(random, other: null);
            }

            StateReader.Load(StateWriter.Save(other.State), "m", new Stand(kind, clock).State);
        }

        Assert.True(refused > 100, $"{refused} refused");
        Assert.True(loaded > 50, $"{loaded} loaded");
    }

    /// <summary>A device and what is around it.</summary>
    private sealed class Stand
    {
        private readonly LegacyKind _kind;
        private readonly ManualClock _clock;
        private readonly RecordingLine _line = new();
        private readonly RecordingPower _power = new();
        private readonly LimitedOutput _output = new();
        private readonly List<(IBusDevice Device, ulong Length)> _windows = [];
        private readonly Serial16550? _serial;
        private readonly PowerManagement? _management;
        private int _spaces;

        public Stand(LegacyKind kind, ManualClock clock)
        {
            (_kind, _clock) = (kind, clock);
            switch (kind)
            {
                case LegacyKind.Serial16550:
                    _serial = new Serial16550("COM1", _output, _line);
                    _serial.InputSpaceAvailable += () => _spaces++;
                    Use(_serial, 8);
                    State = _serial;
                    break;
                case LegacyKind.I8042:
                    var keyboard = new I8042(_power);
                    Use(keyboard.DataPort, 1);
                    Use(keyboard.CommandPort, 1);
                    State = keyboard;
                    break;
                case LegacyKind.Cmos:
                    var cmos = new Cmos(clock, 1 << 30, 0);
                    Use(cmos, 2);
                    State = cmos;
                    break;
                case LegacyKind.PowerManagement:
                    _management = new PowerManagement(_line, _power, clock);
                    Use(_management, PowerManagement.PortCount);
                    State = _management;
                    break;
                case LegacyKind.ResetPort:
                    var reset = new ResetPort(_power);
                    Use(reset, 1);
                    State = reset;
                    break;
                case LegacyKind.Port92:
                    var control = new Port92(_power);
                    Use(control, 1);
                    State = control;
                    break;
                case LegacyKind.FwCfg:
                    var firmware = new FwCfg(1 << 30, 2);
                    firmware.SetCommandLine("console=ttyS0 quiet");
                    Use(firmware, 2);
                    State = firmware;
                    break;
                default:
                    var ports = new PciConfigPorts(new PciBus(new AddressBus("mmio"), static (_, _) => true));
                    var bus = new AddressBus("port");
                    ports.AddTo(bus);
                    foreach (BusRange range in bus.Ranges)
                    {
                        Use(range.Device, range.Length);
                    }

                    State = ports;
                    break;
            }
        }

        public ISavedState State { get; }

        /// <summary>Both outputs have the same room and have taken the same bytes.</summary>
        public void TakeOutside(Stand one)
        {
            _output.Room = one._output.Room;
            one._output.Bytes.Clear();
            _spaces = one._spaces;
        }

        /// <summary>Does the same to this device and to the other; both must behave the same.</summary>
        public void Step(Random random, Stand? other)
        {
            (int what, int window, int offset, int width) =
                (random.Next(12), random.Next(_windows.Count), random.Next(1 << 16), _kind == LegacyKind.PciConfigPorts ? 4 : random.Next(1, 5));
            byte[] data = new byte[width];
            random.NextBytes(data);
            if (random.Next(3) == 0)
            {
                data[0] = (byte)(1 << random.Next(8));
            }

            ulong at = (ulong)offset % _windows[window].Length;
            if (_kind == LegacyKind.Cmos && random.Next(2) == 0)
            {
                (at, data) = (0, [(byte)random.Next(16)]);       // the clock's registers
            }

            if (_kind == LegacyKind.FwCfg && random.Next(2) == 0)
            {
                (at, data) = (0, [(byte)random.Next(0x1a), 0]);
            }

            int host = random.Next(200);
            byte[]? mine = Act(what, window, at, data, host);
            byte[]? others = other?.Act(what, window, at, data, host);
            if (what == 0)
            {
                _clock.Now += TimeSpan.FromMilliseconds(host);
                _clock.Ticks += host * 1_000_000L;
            }

            if (other is not null)
            {
                Assert.Equal(mine, others);
                Assert.Equal(_line.Level, other._line.Level);
                Assert.Equal(_output.Bytes, other._output.Bytes);
                Assert.Equal(_spaces, other._spaces);
            }
        }

        private byte[]? Act(int what, int window, ulong at, byte[] data, int host)
        {
            IBusDevice device = _windows[window].Device;
            switch (what)
            {
                case 1 when _serial is not null:
                    return [(byte)_serial.Receive(data)];
                case 2 when _serial is not null:
                    return [_serial.ReceiveBreak() ? (byte)1 : (byte)0];
                case 3 when _serial is not null:
                    _output.Room = host;
                    _serial.OutputDrained();
                    return null;
                case 4 when _serial is not null:
                    _output.Room = 0;
                    return null;
                case 1 when _management is not null:
                    return [_management.PressPowerButton() ? (byte)1 : (byte)0];
                case 2 when _management is not null:
                    _management.NotifyNewGeneration();
                    return null;
                case < 8:
                    var read = new byte[data.Length];
                    Array.Fill(read, (byte)0xff);
                    device.Read(at, read);
                    return read;
                default:
                    device.Write(at, data);
                    return null;
            }
        }

        private void Use(IBusDevice device, ulong length) => _windows.Add((device, length));
    }
}
