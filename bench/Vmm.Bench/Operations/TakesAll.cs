using Vmm.Kvm;
using Vmm.Machines;

namespace Vmm.Bench.Operations;

/// <summary>In the assist's place: answers every filtered MSR, and finishes nothing.</summary>
internal sealed class TakesAll : IExitAssist, IExitDetail
{
    public int LastInstruction => 0;

    public string NameOf(int instruction) => "";

    public GuestStop? Complete(ReadOnlySpan<byte> bytes) => GuestStop.Crashed("an emulation failure");

    public bool HandleMsr(bool isWrite) => true;

    public GuestStop? AfterKick() => null;

    public string Where() => "";
}
