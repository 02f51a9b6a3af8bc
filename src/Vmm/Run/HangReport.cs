using System.Globalization;
using System.Text;
using Vmm.Devices.Legacy;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;

namespace Vmm.Run;

/// <summary>Finds out what a guest that hangs is doing.</summary>
internal static class HangReport
{
    private const ulong InterruptsOn = 0x200;       // RFLAGS.IF (SDM volume 1, section 3.4.3)

    /// <summary>Pauses all vCPUs and reads where they are. On the event loop's thread, which no vCPU waits for.
    /// </summary>
    public static IReadOnlyList<string> Vcpus(Machine machine)
    {
        var lines = new List<string>();
        machine.Pause();
        foreach (VcpuThread thread in machine.Vcpus)
        {
            KvmRegs registers = thread.Vcpu.GetRegs();
            bool isKernel = (thread.Vcpu.GetSregs().Cs.Selector & 3) == 0;
            string state = thread.Vcpu.MpState switch
            {
                KvmMpState.KVM_MP_STATE_HALTED => "halted, waits for an interrupt",
                KvmMpState.KVM_MP_STATE_UNINITIALIZED => "never started",
                KvmMpState.KVM_MP_STATE_INIT_RECEIVED => "was reset",
                _ => isKernel ? "runs the kernel" : "runs a program",
            };
            lines.Add(string.Create(
                CultureInfo.InvariantCulture,
                $"vCPU {thread.Vcpu.Id}: {state} at 0x{registers.Rip:x}, interrupts {((registers.Rflags & InterruptsOn) != 0 ? "on" : "off")}"));
        }

        machine.Resume();
        return lines;
    }

    /// <summary>Asks Linux through the serial port: a break, and the next byte is a SysRq command (Documentation:
    /// admin-guide/sysrq). Kernels without CONFIG_MAGIC_SYSRQ_SERIAL say nothing.</summary>
    /// <returns>False where the guest does not receive from the port.</returns>
    public static bool SendSysRq(Serial16550 port, char command) =>
        port.ReceiveBreak() && port.Receive(Encoding.ASCII.GetBytes([command])) == 1;
}
