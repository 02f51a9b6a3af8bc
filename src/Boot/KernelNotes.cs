namespace Vmm.Boot;

/// <summary>Messages about kernels that vmm cannot unpack.</summary>
public static class KernelNotes
{
    /// <param name="name">The kernel's file.</param>
    /// <param name="obstacle">See <see cref="Unpack.PackedPayload.Obstacle"/>.</param>
    public static string UnpacksItself(string name, string obstacle) =>
        $"kernel {name}: {obstacle}: it is booted anyway and unpacks itself in the guest, which takes longer "
        + "(--no-unpack: the same without this line)";
}
