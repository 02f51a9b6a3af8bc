namespace Vmm.Kvm;

internal enum GuestStopKind
{
    PoweredOff,
    Reset,
    Crashed,
    HostFailed,
}

/// <summary>Why a vCPU stopped, as KVM reports it. The machine decides what that means for the user.</summary>
/// <param name="Detail">Crashed: what the guest did and where, in words.</param>
/// <param name="Error">HostFailed: what was thrown.</param>
internal sealed record GuestStop(GuestStopKind Kind, string? Detail = null, Exception? Error = null)
{
    public static GuestStop PoweredOff { get; } = new(GuestStopKind.PoweredOff);

    public static GuestStop Reset { get; } = new(GuestStopKind.Reset);

    public static GuestStop Crashed(string detail) => new(GuestStopKind.Crashed, detail);

    public static GuestStop HostFailed(Exception error) => new(GuestStopKind.HostFailed, Error: error);
}
