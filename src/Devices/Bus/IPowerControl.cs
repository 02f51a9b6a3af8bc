namespace Vmm.Devices.Bus;

/// <summary>What a device may ask of the machine as a whole.</summary>
/// <remarks>Called on vCPU threads in the middle of an access: an implementation stores the request and returns; the machine
/// stops afterwards. The first request counts. Safe from any thread.</remarks>
public interface IPowerControl
{
    /// <summary>The guest pulled the reset line (i8042, port 0xcf9, ACPI reset register).</summary>
    void RequestReset();

    /// <summary>The guest powered itself off (ACPI S5).</summary>
    void RequestPowerOff();

    /// <summary>The guest ended the VM with a code of its own (port 0xf4).</summary>
    /// <param name="code">0 to 255, as the guest wrote it.</param>
    void RequestExit(byte code);

    /// <summary>The guest's kernel panicked (pvpanic).</summary>
    /// <param name="handledByGuest">The guest's own crash kernel (kdump) takes over.</param>
    void ReportPanic(bool handledByGuest);
}
