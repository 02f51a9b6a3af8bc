using Vmm.Devices.Memory;
using Vmm.Machines;

namespace Vmm.Tests.Kvm;

/// <summary>Numbers by which guests tell how far they have come: 64 bits, at an address that the test chooses.</summary>
internal static class GuestNumbers
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Waits until the number is <paramref name="least"/> or more.</summary>
    public static void WaitForNumber(this Machine machine, ulong address, ulong least) => Assert.True(
        SpinWait.SpinUntil(() => Number(machine, address) >= least, Patience), $"0x{address:x} is {Number(machine, address)}, not {least}");

    /// <summary>Waits until the number is higher than now.</summary>
    public static void WaitForMore(this Machine machine, ulong address, ulong more = 1) =>
        machine.WaitForNumber(address, Number(machine, address) + more);

    private static ulong Number(Machine machine, ulong address) => machine.Ram.Memory.Read<ulong>(new GuestAddress(address));
}
