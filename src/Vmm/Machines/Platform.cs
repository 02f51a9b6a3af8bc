using Vmm.Boot;
using Vmm.Devices.Acpi;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Memory;
using Vmm.Kvm;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>The parts that every machine has: two buses, and the devices at fixed ports.</summary>
internal sealed class Platform
{
    /// <param name="control">Ends the machine when the guest asks for it.</param>
    /// <param name="state">Collects the parts that have a state to save.</param>
    public Platform(MachineSpec spec, KvmVm vm, GuestMemory memory, IPowerControl control, MachineParts state)
    {
        I8042 keyboard = state.Add("i8042", new I8042(control));
        Ports.Add(I8042.DataPortNumber, 1, keyboard.DataPort);
        Ports.Add(I8042.CommandPortNumber, 1, keyboard.CommandPort);
        (ulong low, ulong high) = Layout.SplitMemory(spec.Memory);
        Ports.Add(Cmos.Port, Cmos.PortCount, state.Add("cmos", new Cmos(TimeProvider.System, low, high)));
        Ports.Add(DebugExit.Port, 1, new DebugExit(control));
        Ports.Add(ResetPort.Port, 1, state.Add("reset", new ResetPort(control)));
        Ports.Add(Port92.Port, 1, state.Add("port92", new Port92(control)));
        Ports.Add(Pvpanic.Port, 1, new Pvpanic(control));
        FwCfg = state.Add("fwCfg", new FwCfg(spec.Memory, spec.Cpus));
        Ports.Add(FwCfg.Port, FwCfg.PortCount, FwCfg);
        Power = state.Add("power", new PowerManagement(new IrqLine(vm, PowerManagement.SciIrq), control, TimeProvider.System));
        Ports.Add(PowerManagement.Port, PowerManagement.PortCount, Power);
        Generation = state.Add("generation", new GenerationId(memory, FirmwareTables.Generation, new SystemEntropy(), Power));
    }

    public AddressBus Ports { get; } = new("port");

    public AddressBus Mmio { get; } = new("mmio");

    public PowerManagement Power { get; }

    public GenerationId Generation { get; }

    public FwCfg FwCfg { get; }

    /// <summary>Adds the serial ports, and the ports that answer without a device. Once.</summary>
    /// <param name="second">Null for none.</param>
    public void AddSerial(Serial16550 first, Serial16550? second, MachineParts state)
    {
        Ports.Add(Serial16550.Com1Port, Serial16550.PortCount, state.Add("com1", first));
        if (second is not null)
        {
            Ports.Add(Serial16550.Com2Port, Serial16550.PortCount, state.Add("com2", second));
        }

        NullPort.AddAll(Ports, hasSecondSerial: second is not null);
    }
}
