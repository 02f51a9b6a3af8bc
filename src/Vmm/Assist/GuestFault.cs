namespace Vmm.Assist;

/// <summary>An exception that the assisted instruction raises in the guest.</summary>
/// <param name="Vector">Intel SDM volume 3, table 6-1.</param>
/// <param name="HasErrorCode">Does the vector push one?</param>
/// <param name="ErrorCode">0 if it does not.</param>
/// <param name="Address">The faulting linear address of #PF, for CR2.</param>
internal readonly record struct GuestFault(byte Vector, bool HasErrorCode, uint ErrorCode, ulong Address = 0)
{
    public const byte Db = 1, Bp = 3, Of = 4, Ud = 6, Nm = 7, Np = 11, SsVector = 12, GpVector = 13, PfVector = 14,
        Mf = 16, Xm = 19;

    /// <summary>An exception that pushes no error code.</summary>
    public static GuestFault Plain(byte vector) => new(vector, false, 0);

    public static GuestFault Gp(uint errorCode = 0) => new(GpVector, true, errorCode);

    public static GuestFault Ss() => new(SsVector, true, 0);

    public static GuestFault PageFault(uint errorCode, ulong address) => new(PfVector, true, errorCode, address);
}
