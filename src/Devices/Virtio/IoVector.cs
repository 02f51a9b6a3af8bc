using System.Runtime.InteropServices;

namespace Vmm.Devices.Virtio;

/// <summary>A range of this process's memory that lies wholly in guest memory: <c>struct iovec</c>, so that an
/// array of them goes to the kernel as it is.</summary>
/// <param name="Base">Address in this process.</param>
/// <param name="Length">Bytes.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct IoVector(nint Base, nuint Length);
