using Vmm.Devices.Legacy;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>Where the guest's console goes in a run: into the ring, and to those who want it as well.</summary>
/// <param name="tail">Gets what the others took.</param>
/// <param name="echo">For who looks on; the guest waits for it. Null for nobody.</param>
/// <param name="log">A file; null for none.</param>
internal sealed class RunConsole(ConsoleTail tail, ISerialOutput? echo, ConsoleLog? log) : ISerialOutput
{
    public int Write(ReadOnlySpan<byte> bytes)
    {
        int taken = echo?.Write(bytes) ?? bytes.Length;
        tail.Write(bytes[..taken]);
        log?.Write(bytes[..taken]);
        return taken;
    }
}
