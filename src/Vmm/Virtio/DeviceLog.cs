using Vmm.Devices.Virtio;

namespace Vmm.Virtio;

/// <summary>What devices say about a misbehaving guest, on standard error, at most so many lines.</summary>
/// <remarks>A guest can provoke these at will: after the first few the rest is only counted, and the count is told at
/// the end.</remarks>
internal sealed class DeviceLog : IDeviceLog
{
    private const int MaximumLines = 20;

    private int _lines;

    /// <summary>How many were not shown.</summary>
    public int Suppressed => Math.Max(0, Volatile.Read(ref _lines) - MaximumLines);

    public void Warn(string device, string message)
    {
        // Saturates, so that it cannot wrap around and begin again.
        if (Volatile.Read(ref _lines) == int.MaxValue || Interlocked.Increment(ref _lines) > MaximumLines)
        {
            return;
        }

        Stderr.WriteLine($"vmm: {device}: {message}");
    }
}
