using System.Runtime.InteropServices;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Memory;
using Vmm.Devices.Pci;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kvm;

/// <summary>Plays KVM's part: what is written while posting is on goes to the ring.</summary>
public sealed class PostedPortWritesTests
{
    private const uint HostBridge = 0x8000_0000, NoDevice = 0x8000_f800;

    [Fact]
    public void A_posted_address_counts_for_the_next_access_to_the_data_port()
    {
        using var guest = new Stand();
        Assert.Empty(guest.Posting);
        guest.Write(0xcf8, HostBridge, 4);      // an exit, the first
        Assert.Equal([0xcf8], guest.Posting);
        guest.Write(0xcf8, NoDevice, 4);
        Assert.Equal(0xffff_ffff, guest.Read(0xcfc, 4));
        guest.Write(0xcf8, HostBridge, 4);
        Assert.Equal(0x0008_1b36u, guest.Read(0xcfc, 4));
        Assert.Equal(2, guest.Posted.Delivered);
        Assert.Equal(3, guest.Exits);
    }

    [Fact]
    public void Characters_are_delivered_in_order_and_no_later_than_the_next_exit_or_period()
    {
        using var guest = new Stand();
        guest.Say("Linux");
        Assert.Equal("L", guest.Said);
        Assert.Equal([0x3f8], guest.Posting);
        guest.Read(0x3fd, 1);
        Assert.Equal("Linux", guest.Said);
        guest.Say(" ver");
        guest.Elapse();
        Assert.Equal("Linux ver", guest.Said);
        guest.Write(0x3fb, 0x80, 1);            // LCR: the next byte is a divisor's
        guest.Write(0x3f8, 'x', 1);
        guest.Write(0x3fb, 0x03, 1);
        guest.Say("!");
        guest.Read(0x80, 1);
        Assert.Equal("Linux ver!", guest.Said);
    }

    [Fact]
    public void Posting_ends_when_nothing_was_written_for_a_while_and_begins_again_with_the_next_write()
    {
        using var guest = new Stand();
        guest.Say("a");
        guest.Write(0xcf8, HostBridge, 4);
        Assert.Equal([0x3f8, 0xcf8], guest.Posting);
        for (int i = 0; i < 3; i++)
        {
            guest.Elapse(PostedPortWrites.QuietPeriods - 1);
            guest.Say("b");
        }

        guest.Elapse(PostedPortWrites.QuietPeriods);
        Assert.NotEmpty(guest.Posting);         // the last look found a character
        guest.Elapse();
        Assert.Empty(guest.Posting);
        Assert.False(guest.IsTimerSet);
        Assert.Equal("abbb", guest.Said);
        guest.Write(0xcf8, HostBridge, 4);
        Assert.Equal([0xcf8], guest.Posting);
        Assert.True(guest.IsTimerSet);
    }

    [Fact]
    public void A_reset_that_was_posted_comes_with_the_next_exit()
    {
        using var guest = new Stand();
        guest.Write(0xcf8, HostBridge, 4);
        guest.Write(0xcf9, 0x02, 1);
        guest.Write(0xcf9, 0x06, 1);
        Assert.Equal(0, guest.Resets);
        guest.Read(0x80, 1);
        Assert.Equal(1, guest.Resets);
    }

    [Fact]
    public void A_reset_that_was_posted_comes_without_an_exit()
    {
        using var guest = new Stand();
        guest.Write(0xcf8, HostBridge, 4);
        guest.Write(0xcf9, 0x06, 1);
        guest.Elapse();
        Assert.Equal(1, guest.Resets);
    }

    [Fact]
    public void A_full_ring_is_an_exit_that_empties_it()
    {
        using var guest = new Stand();
        guest.Write(0xcf8, HostBridge, 4);
        for (int i = 0; i < 1000; i++)
        {
            guest.Write(0xcf8, i % 2 == 0 ? HostBridge : NoDevice, 4);
        }

        Assert.InRange(guest.Exits, 1 + (1000 / 170), 1 + (1000 / 169));
        Assert.Equal(NoDevice, guest.Read(0xcf8, 4));
    }

    [Fact]
    public void A_KVM_that_refuses_is_asked_once()
    {
        using var guest = new Stand { Refuses = true };
        guest.Write(0xcf8, HostBridge, 4);
        guest.Write(0xcf8, HostBridge, 4);
        Assert.Equal(0x0008_1b36u, guest.Read(0xcfc, 4));
        Assert.Equal(1, guest.Asked);
    }

    [Fact]
    public void A_length_that_KVM_never_gives_stays_inside_the_entry()
    {
        using var guest = new Stand();
        guest.Write(0xcf8, HostBridge, 4);
        guest.Post(0xcf8, 0, uint.MaxValue);
        Assert.Equal(HostBridge, guest.Read(0xcf8, 4));     // eight bytes are no address
    }

    [Fact]
    public void Delivering_allocates_nothing()
    {
        using var guest = new Stand();
        guest.Write(0xcf8, HostBridge, 4);
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                guest.Write(0xcf8, HostBridge, 4);
                guest.Read(0xcfc, 4);
            }
        }));
    }

    /// <summary>Whatever a guest does at these ports, it reads the same as if each write were an exit.</summary>
    [Fact]
    public void A_guest_cannot_tell()
    {
        Gen<(int Kind, ushort Port, uint Value, int Width)> step =
            from kind in Gen.Choose(0, 9)
            from port in Gen.OneOf(Gen.Choose(0xcf8, 0xcff), Gen.Choose(0x3f8, 0x3ff))
            from value in Gen.OneOf(Gen.Constant(HostBridge), Gen.Constant(NoDevice), Gen.Choose(0, int.MaxValue).Select(any => (uint)any << 1))
            from width in Gen.Elements(1, 2, 4)
            select (kind, (ushort)port, value, width);
        Prop.ForAll(step.ArrayOf(100).ToArbitrary(), steps =>
        {
            using Stand posted = new(), plain = new() { Refuses = true };
            foreach ((int kind, ushort port, uint value, int width) in steps)
            {
                switch (kind)
                {
                    case 0:
                        posted.Elapse();
                        break;
                    case < 6:
                        posted.Write(port, value, width);
                        plain.Write(port, value, width);
                        break;
                    default:
                        Assert.Equal(plain.Read(port, width), posted.Read(port, width));
                        Assert.Equal((plain.Resets, plain.Said), (posted.Resets, posted.Said));
                        break;
                }
            }
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(500));
    }

    private sealed unsafe class Stand : ILoopTimer, IPowerControl, ISerialOutput, IInterruptLine
    {
        private const int PageSize = 4096;

        private readonly KvmCoalescedMmioRing* _ring = (KvmCoalescedMmioRing*)NativeMemory.AllocZeroed(PageSize);
        private readonly AddressBus _ports = new("port");
        private readonly List<(int Start, int Length)> _zones = [];
        private readonly StringBuilder _said = new();
        private Action? _elapsed;

        public Stand()
        {
            Posted = new PostedPortWrites(_ring, _ports, Switch, elapsed =>
            {
                _elapsed = elapsed;
                return this;
            });
            new PciConfigPorts(new PciBus(new AddressBus("mmio"), (_, _) => true)).AddTo(_ports);
            _ports.Add(ResetPort.Port, 1, new ResetPort(this));
            _ports.Add(Serial16550.Com1Port, Serial16550.PortCount, new Serial16550("COM1", this, this));
        }

        public PostedPortWrites Posted { get; }
        public IEnumerable<int> Posting => _zones.Select(zone => zone.Start).Order();
        public bool IsTimerSet { get; private set; }
        public bool Refuses { get; init; }
        public int Asked { get; private set; }
        public int Exits { get; private set; }
        public int Resets { get; private set; }
        public string Said => _said.ToString();

        public void Say(string text)
        {
            foreach (char each in text)
            {
                Write(0x3f8, each, 1);
            }
        }

        public void Write(ushort port, uint value, int width)
        {
            foreach ((int start, int length) in _zones)
            {
                if (port >= start && port + width <= start + length && Post(port, value, (uint)width))
                {
                    return;
                }
            }

            Exits++;
            Posted.Deliver();
            _ports.Write(port, new ReadOnlySpan<byte>(&value, width));
            Posted.Written(port);
        }

        public uint Read(ushort port, int width)
        {
            Exits++;
            Posted.Deliver();
            uint value = 0;
            _ports.Read(port, new Span<byte>(&value, width));
            return value;
        }

        /// <returns>False where the ring is full.</returns>
        public bool Post(ushort port, uint value, uint length)
        {
            uint next = (_ring->Last + 1) % KvmCoalescedMmioRing.MaximumEntries;
            if (next == _ring->First)
            {
                return false;
            }

            // SAFETY: the index is below the number of entries, which fit in a page.
            KvmCoalescedMmio* entry = _ring->Entries + _ring->Last;
            (entry->PhysAddr, entry->Len, entry->Pio) = (port, length, 1);
            *(ulong*)entry->Data = value;
            _ring->Last = next;
            return true;
        }

        public void Elapse(int times = 1)
        {
            for (int i = 0; i < times && IsTimerSet; i++)
            {
                IsTimerSet = false;
                _elapsed!();
            }
        }

        public void Set(TimeSpan delay) => IsTimerSet = true;
        public void SetLevel(bool asserted) { }
        public void RequestReset() => Resets++;
        public void RequestPowerOff() => Assert.Fail("power off");
        public void RequestExit(byte code) => Assert.Fail("exit");
        public void ReportPanic(bool handledByGuest) => Assert.Fail("panic");
        public void Dispose() => NativeMemory.Free(_ring);

        int ISerialOutput.Write(ReadOnlySpan<byte> bytes)
        {
            _said.Append(Encoding.Latin1.GetString(bytes));
            return bytes.Length;
        }

        private void Switch(ushort port, uint length, bool on)
        {
            Asked++;
            if (Refuses)
            {
                throw new ErrnoException("KVM_REGISTER_COALESCED_MMIO", ErrnoException.ENOSPC);
            }

            if (on)
            {
                _zones.Add((port, (int)length));
            }
            else
            {
                Assert.True(_zones.Remove((port, (int)length)));
            }
        }
    }
}
