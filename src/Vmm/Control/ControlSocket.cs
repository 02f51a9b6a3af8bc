using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Control;

/// <summary>The name at which a machine listens, and each one that takes its place (<c>--on-reboot restart</c>): who connects in
/// between waits.</summary>
internal sealed class ControlSocket : IDisposable
{
    private readonly SocketName _name;

    private ControlSocket(SocketName name) => _name = name;

    /// <returns>Null where none is asked for.</returns>
    /// <exception cref="UsageException">The path cannot be used.</exception>
    public static ControlSocket? Open(MachineSpec spec) => spec.Control is { } path
        ? new ControlSocket(SocketName.Listen($"--control {path}", path))
        : null;

    /// <summary>Serves one machine, before it runs.</summary>
    /// <param name="version">Of vmm.</param>
    /// <param name="guest">What vmm run adds; null for a plain machine.</param>
    /// <returns>To be disposed of before the machine.</returns>
    public ControlServer Serve(Machine machine, string version, IControlledGuest? guest = null) =>
        new(machine.Loop, _name, new MachineControl(machine, version, guest));

    public void Dispose() => _name.Dispose();
}
