using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Balloon;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A host that takes pages: they read as zeros from then on, and it remembers which it took.</summary>
internal sealed unsafe class FakeBalloonMemory : IBalloonMemory
{
    public List<(nint Address, ulong Length)> Taken { get; } = [];

    public bool KeepNoRecord { get; set; }

    /// <summary>The host takes nothing.</summary>
    public bool Refuses { get; set; }

    public long Calls { get; private set; }

    public bool Release(nint address, nuint length)
    {
        Calls++;
        Assert.True(length > 0 && ((nuint)address & 4095) == 0 && (length & 4095) == 0);
        if (Refuses)
        {
            return false;
        }

        if (!KeepNoRecord)
        {
            Taken.Add((address, length));
        }

        // SAFETY: the device checked that the range is memory of the guest, which the test made.
        new Span<byte>((void*)address, (int)length).Clear();
        return true;
    }
}
