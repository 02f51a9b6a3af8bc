using System.Runtime.InteropServices;

namespace Vmm.Boot.Unpack;

/// <summary>Finds the system's compression libraries when a kernel first needs one; nothing is linked to them, and
/// no development package is needed.</summary>
internal class SystemLibraries
{
    public static SystemLibraries Default { get; } = new();

    /// <summary>Finds a function; libraries once opened stay.</summary>
    /// <param name="library">The name with its ABI version, such as libzstd.so.1.</param>
    /// <param name="function">The C name.</param>
    /// <returns>Its address, or 0 if there is no such library or function.</returns>
    public virtual nint Find(string library, string function) =>
        NativeLibrary.TryLoad(library, out nint handle)
        && NativeLibrary.TryGetExport(handle, function, out nint address)
            ? address : 0;
}
