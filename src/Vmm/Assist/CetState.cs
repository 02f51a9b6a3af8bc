using System.Buffers.Binary;

namespace Vmm.Assist;

/// <summary>The supervisor state components that KVM gives to guests: shadow-stack control, which lives in MSRs and
/// not in KVM's XSAVE image (Intel SDM volume 1, 13.5.9). Others IA32_XSS cannot enable, since KVM refuses it.</summary>
internal static class CetState
{
    private static ReadOnlySpan<uint> UserMsrs => [Msr.UCet, Msr.Pl3Ssp];

    private static ReadOnlySpan<uint> SupervisorMsrs => [Msr.Pl0Ssp, Msr.Pl1Ssp, Msr.Pl2Ssp];

    /// <summary>Bytes of a component; 0 if it is not one of these.</summary>
    public static int Length(int component) => 8 * Msrs(component).Length;

    public static bool TryRead(IAssistCpu cpu, int component, Span<byte> state, out int length)
    {
        length = Length(component);
        ReadOnlySpan<uint> msrs = Msrs(component);
        for (int i = 0; i < msrs.Length; i++)
        {
            if (!cpu.TryGetMsr(msrs[i], out ulong value))
            {
                return false;
            }

            BinaryPrimitives.WriteUInt64LittleEndian(state[(8 * i)..], value);
        }

        return length != 0;
    }

    public static bool TryWrite(IAssistCpu cpu, int component, ReadOnlySpan<byte> state)
    {
        ReadOnlySpan<uint> msrs = Msrs(component);
        for (int i = 0; i < msrs.Length; i++)
        {
            if (!cpu.TrySetMsr(msrs[i], BinaryPrimitives.ReadUInt64LittleEndian(state[(8 * i)..])))
            {
                return false;
            }
        }

        return true;
    }

    private static ReadOnlySpan<uint> Msrs(int component) => component switch
    {
        XsaveLayout.CetUser => UserMsrs,
        XsaveLayout.CetSupervisor => SupervisorMsrs,
        _ => [],
    };
}
