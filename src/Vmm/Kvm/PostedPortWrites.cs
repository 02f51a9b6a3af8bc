using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Pci;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>Writes to some ports for which KVM does not leave the guest: it notes them in a ring, and they reach their
/// device before whatever exit comes next (KVM API 4.116, "coalesced pio").</summary>
/// <remarks>
/// PCI's address port is one: each configuration access writes an address there and then comes to the data port, which is
/// an exit. The serial port's THR is the other: Linux asks LSR, an exit, before each character, or writes 16 at a time.
/// <para>The ring tells nobody that it has something, and a guest may rest after such a write: its last character, or a
/// reset by port 0xcf9, which lies among the address port's four. So writes are posted only while the guest is busy with
/// these ports, and meanwhile the event loop looks into the ring every <see cref="Period"/> as well.</para>
/// <para>Any thread. Nothing is allocated after the first use.</para>
/// </remarks>
internal sealed unsafe class PostedPortWrites : IDisposable
{
    /// <summary>No write is kept back for longer.</summary>
    public static readonly TimeSpan Period = TimeSpan.FromMilliseconds(10);

    /// <summary>So many in which nothing was written are the end of posting.</summary>
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

    /// <param name="vcpu">Any: all share one ring.</param>
    /// <param name="page"><see cref="KvmVm.PostedWritesPage"/>.</param>
    /// <param name="ports">Where the writes go.</param>
    public PostedPortWrites(KvmVm vm, Vcpu vcpu, int page, EventLoop loop, AddressBus ports)
        : this(vcpu.PostedWrites(page), ports, vm.PostPortWrites, elapsed => new LoopTimer(loop, elapsed))
    {
    }

    /// <param name="ring">KVM's.</param>
    /// <param name="ports">Where the writes go.</param>
    /// <param name="post">Has KVM begin or stop to post writes to so many ports.</param>
    internal PostedPortWrites(
        KvmCoalescedMmioRing* ring, AddressBus ports, Action<ushort, uint, bool> post, Func<Action, ILoopTimer> createTimer)
    {
        _ring = ring;
        (_ports, _post) = (ports, post);
        _timer = createTimer(Look);
    }

    /// <summary>Writes that came without an exit.</summary>
    public long Delivered { get; private set; }

    /// <summary>A write to a port was an exit: the next need not be.</summary>
    public void Written(ushort port)
    {
        if (port is PciConfigPorts.AddressPortNumber or Serial16550.Com1Port && !_refused)
        {
            Begin(port == PciConfigPorts.AddressPortNumber ? _address : _character);
        }
    }

    /// <summary>Hands the devices what was written before the exit that is about to be handled.</summary>
    public void Deliver()
    {
        // Another vCPU may be at it: First moves when a write has reached its device, not before.
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
                    _posting = true;        // before KVM posts: another vCPU's write may be in the ring at once
                    _timer.Set(Period);
                }

                _post(zone.Port, zone.Length, true);
                zone.IsPosted = true;
            }
            catch (ErrnoException)
            {
                _refused = true;        // each write is an exit then
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
