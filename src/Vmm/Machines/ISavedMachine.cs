using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines;

/// <summary>A machine that was saved, for one that goes on from there: it gets memory and state instead of a kernel.</summary>
internal interface ISavedMachine
{
    /// <summary>The state of <see cref="MachineParts"/>, as it was written.</summary>
    ReadOnlyMemory<byte> State { get; }

    /// <summary>The memory as a file to be mapped: exactly as long as the machine's memory. The caller's from now on; null where it
    /// is to be read instead.</summary>
    FileDescriptor? MapMemory();

    /// <summary>Opens what tells page faults, where memory is to be served by a thread.</summary>
    /// <param name="shared">Other programs map the memory.</param>
    /// <returns>Null where it is not, or cannot be, which the user has been told then.</returns>
    FileDescriptor? OpenFaults(bool shared) => null;

    /// <summary>Serves memory as it is touched, and reads the rest of it when it is told to.</summary>
    /// <param name="faults">As <see cref="OpenFaults"/> gave it; taken over.</param>
    /// <param name="start">Memory of this process that nobody has touched.</param>
    /// <param name="length">Bytes; all of the machine's memory.</param>
    /// <exception cref="HostException">The host cannot.</exception>
    FaultServer Serve(FileDescriptor faults, nint start, ulong length) => throw new NotSupportedException();

    /// <summary>Reads all of the memory.</summary>
    /// <param name="start">Zeroed memory of this process.</param>
    /// <param name="length">Bytes; all of the machine's memory.</param>
    /// <exception cref="UsageException">It is damaged.</exception>
    void ReadMemory(nint start, ulong length);

    /// <summary>Can the guest go on here?</summary>
    /// <param name="vcpu">The first of a machine that was made here to take the state over.</param>
    /// <exception cref="StateException">The host lacks something, which is named.</exception>
    void CheckHost(Vcpu vcpu, KvmSystem kvm);
}
