using Vmm.Devices.Bus;
using Vmm.Devices.Pci;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>Writes to PCI's address port for which KVM does not leave the guest: it notes them in a ring, and they reach
/// their device before whatever exit comes next (KVM API 4.116, "coalesced pio"). That saves one of the two exits of
/// each configuration access.</summary>
/// <remarks>
/// A write as such is harmless there, but port 0xcf9, the reset register, lies among the four ports, and the ring tells
/// nobody that it has something. So writes are posted only while the guest is busy with PCI: from a first write to the
/// address port until there was none for <see cref="Quiet"/>. A reset that was posted in that time comes with the next
/// exit, or at the end of it at the latest.
/// <para>Any thread. Nothing is allocated after the first use.</para>
/// </remarks>
internal sealed unsafe class PostedPortWrites : IDisposable
{
    /// <summary>A driver's set-up has no longer pauses on hardware, and an end that comes this late is still one at once.
    /// </summary>
    public static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(100);

    private const uint ZoneLength = 4;

    private readonly int _page;
    private readonly AddressBus _ports;
    private readonly Action<bool> _post;
    private readonly Func<Action, ILoopTimer> _createTimer;
    private readonly Lock _lock = new();
    private ILoopTimer? _timer;
    private KvmCoalescedMmioRing* _ring;
    private volatile bool _posting;
    private bool _used;
    private bool _refused;

    /// <param name="page"><see cref="KvmVm.PostedWritesPage"/>.</param>
    /// <param name="ports">Where the writes go.</param>
    public PostedPortWrites(KvmVm vm, int page, EventLoop loop, AddressBus ports)
        : this(
            ports,
            on => vm.PostPortWrites(PciConfigPorts.AddressPortNumber, ZoneLength, on),
            elapsed => new LoopTimer(loop, elapsed)) => _page = page;

    /// <param name="post">Has KVM begin or stop to post.</param>
    internal PostedPortWrites(AddressBus ports, Action<bool> post, Func<Action, ILoopTimer> createTimer) =>
        (_ports, _post, _createTimer) = (ports, post, createTimer);

    /// <summary>Writes that came without an exit.</summary>
    public long Delivered { get; private set; }

    /// <summary>KVM notes the writes of all vCPUs behind the page that it shares with each of them; nothing is posted
    /// before one is known.</summary>
    public void Attach(Vcpu vcpu) => Attach(vcpu.PostedWrites(_page));

    internal void Attach(KvmCoalescedMmioRing* ring) => _ring = ring;

    /// <summary>The guest wrote to the address port.</summary>
    public void AddressWritten()
    {
        lock (_lock)
        {
            _used = true;
            if (_posting || _refused || _ring is null)
            {
                return;
            }

            try
            {
                _timer ??= _createTimer(LookWhetherQuiet);
                _post(true);
                _posting = true;
                _timer.Set(Quiet);
            }
            catch (ErrnoException)
            {
                // Each write is an exit then, as before.
                _refused = true;
            }
        }
    }

    /// <summary>Hands the devices what was written before the exit that is about to be handled.</summary>
    public void Deliver()
    {
        // Another vCPU may be at it: _ring->First moves when a write has reached its device, not before.
        if (_posting && Volatile.Read(ref _ring->First) != Volatile.Read(ref _ring->Last))
        {
            DeliverAll();
        }
    }

    public void Dispose() => _timer?.Dispose();

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
        }
    }

    private void LookWhetherQuiet()
    {
        lock (_lock)
        {
            if (_used)
            {
                _used = false;
                _timer!.Set(Quiet);
                return;
            }

            _post(false);
            DeliverAll();
            _posting = false;
        }
    }
}
