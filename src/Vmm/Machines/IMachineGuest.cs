using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;

namespace Vmm.Machines;

/// <summary>Communicates with the guest of a machine, instead of the user at its console: <c>vmm run</c>. A machine
/// without one has its console on standard input and output.</summary>
internal interface IMachineGuest : IDisposable
{
    /// <summary>An archive to append to the user's initramfs files; empty for none.</summary>
    ReadOnlyMemory<byte> Initramfs { get; }

    /// <summary>Words for the kernel's command line, before the user's own.</summary>
    IReadOnlyList<string> KernelWords { get; }

    /// <summary>Bytes that the kernel has written to its console so far.</summary>
    long ConsoleBytes { get; }

    /// <summary>Opens what it needs on the host. Called once, before the machine is assembled.</summary>
    void Open(EventLoop loop);

    /// <summary>Sets the machine, which has no devices yet. Called once.</summary>
    void Attach(Machine machine);

    /// <summary>The host's end of the guest's sockets.</summary>
    /// <param name="others">What the user gave with --vsock; null for none.</param>
    IVsockHost Sockets(IVsockHost? others);

    /// <summary>The first serial port, where the kernel's console is.</summary>
    /// <param name="watch">Gets the kernel's output.</param>
    Serial16550 FirstPort(IInterruptLine interrupt, IConsoleTap watch);

    /// <summary>The second one, for guests without sockets.</summary>
    Serial16550 SecondPort(IInterruptLine interrupt);

    /// <summary>All vCPUs are about to run. On the thread of the first.</summary>
    void Starting();

    /// <summary>Its own state, to be saved with the machine; empty before the guest was given its command.</summary>
    string Record { get; }
}
