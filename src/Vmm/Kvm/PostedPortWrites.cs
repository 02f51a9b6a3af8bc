using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Pci;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>Writes to some ports that cause no exit: KVM stores them in a ring, and they are delivered to their device before
/// the next exit is handled (KVM API 4.116, "coalesced pio").</summary>
/// <remarks>
/// PCI's address port is one: each configuration access writes an address there and then comes to the data port, which is
/// an exit. The serial port's THR is the other: Linux asks LSR, an exit, before each character, or writes 16 at a time.
/// <para>KVM does not notify of a write in the ring, and a guest may become idle after one: its last character, or a reset by
/// port 0xcf9, which is one of the address port's four. So writes are posted only while the guest uses these ports often, and
/// meanwhile the event loop also checks the ring every <see cref="Period"/>.</para>
/// <para>Any thread. Nothing is allocated after the first use.</para>
/// </remarks>
internal sealed unsafe class PostedPortWrites : IDisposable
{
    /// <summary>The longest delay of a posted write.</summary>
    public static readonly TimeSpan Period = TimeSpan.FromMilliseconds(10);

    /// <summary>Posting ends after so many periods without a write.</summary>
    public const int QuietPeriods = 10;

    private readonly KvmCoalescedMmioRing* _ring;
    private readonly AddressBus _ports;
    private readonly Action<ushort, uint, bool> _post;
    private readonly Lock _lock = new();
    private readonly Zone _address = new(PciConfigPorts.AddressPortNumber, sizeof(uint));
    private readonly Zone _character = new(Serial16550.Com1Port, 1);
    private readonly ILoopTimer _timer;
    private volatile bool _posting;
    private bool _refused;
    private int _quiet;

    /// <param name="vcpu">Any vCPU: all share one ring.</param>
    /// <param name="page"><see cref="KvmVm.PostedWritesPage"/>.</param>
    /// <param name="ports">Where the writes go.</param>
    public PostedPortWrites(KvmVm vm, Vcpu vcpu, int page, EventLoop loop, AddressBus ports)
        : this(vcpu.PostedWrites(page), ports, vm.PostPortWrites, elapsed => new LoopTimer(loop, elapsed))
    {
    }

    /// <param name="ring">The ring that KVM writes to.</param>
    /// <param name="ports">Where the writes go.</param>
    /// <param name="post">Starts or stops posting of a range of ports.</param>
    internal PostedPortWrites(
        KvmCoalescedMmioRing* ring, AddressBus ports, Action<ushort, uint, bool> post, Func<Action, ILoopTimer> createTimer)
    {
        _ring = ring;
        (_ports, _post) = (ports, post);
        _timer = createTimer(Look);
    }

    /// <summary>Writes that were delivered without an exit.</summary>
    public long Delivered { get; private set; }

    /// <summary>A write to such a port caused an exit: starts posting.</summary>
    public void Written(ushort port)
    {
        if (port is PciConfigPorts.AddressPortNumber or Serial16550.Com1Port && !_refused)
        {
            Begin(port == PciConfigPorts.AddressPortNumber ? _address : _character);
        }
    }

    /// <summary>Delivers posted writes to the devices, before an exit is handled.</summary>
    public void Deliver()
    {
        // Another vCPU may be delivering: First moves only after a write has reached its device.
        if (_posting && Volatile.Read(ref _ring->First) != Volatile.Read(ref _ring->Last))
        {
            DeliverAll();
        }
    }

    public void Dispose() => _timer.Dispose();

    private void Begin(Zone zone)
    {
        lock (_lock)
        {
            if (zone.IsPosted)
            {
                return;         // the ring was full
            }

            try
            {
                _quiet = 0;
                if (!_posting)
                {
                    _posting = true;        // set before KVM posts: another vCPU's write may be in the ring at once
                    _timer.Set(Period);
                }

                _post(zone.Port, zone.Length, true);
                zone.IsPosted = true;
            }
            catch (ErrnoException)
            {
                _refused = true;        // each write remains an exit
            }
        }
    }

    private void DeliverAll()
    {
        lock (_lock)
        {
            for (uint next = _ring->First; next != Volatile.Read(ref _ring->Last); Volatile.Write(ref _ring->First, next))
            {
                // SAFETY: KVM's ring has MaximumEntries, and the index never leaves them.
                KvmCoalescedMmio* write = _ring->Entries + next;
                var data = new ReadOnlySpan<byte>(write->Data, (int)Math.Min(write->Len, sizeof(ulong)));
                _ports.Write(write->PhysAddr, data);
                Delivered++;
                next = (next + 1) % KvmCoalescedMmioRing.MaximumEntries;
            }

            _quiet = 0;
        }
    }

    private void Look()
    {
        lock (_lock)
        {
            _quiet++;
            Deliver();
            if (_quiet < QuietPeriods)
            {
                _timer.Set(Period);
                return;
            }

            End(_address);
            End(_character);
            Deliver();
            _posting = false;
        }
    }

    private void End(Zone zone)
    {
        if (zone.IsPosted)
        {
            _post(zone.Port, zone.Length, false);
            zone.IsPosted = false;
        }
    }

    private sealed class Zone(ushort port, uint length)
    {
        public ushort Port { get; } = port;

        public uint Length { get; } = length;

        public bool IsPosted { get; set; }
    }
}
