using Vmm.Devices.Legacy;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>The guest's console in a run: written to the ring, and to standard error and a log if asked for.</summary>
/// <param name="tail">Gets the bytes that the others took.</param>
/// <param name="echo">Shows the console to the user; the guest waits for it. Null for none.</param>
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
