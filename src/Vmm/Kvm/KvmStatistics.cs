using System.Runtime.InteropServices;
using System.Text;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>Reads what KVM counts for itself (KVM API 4.130, KVM_GET_STATS_FD).</summary>
internal static unsafe class KvmStatistics
{
    private const uint TypeMask = 0xf;                  // KVM_STATS_TYPE_MASK
    private const uint TypeLinearHistogram = 3;         // KVM_STATS_TYPE_LINEAR_HIST; 4 is a histogram too
    private const int MostDescriptors = 4096, LongestName = 1024;

    /// <param name="fd">Descriptor of a vCPU or a VM.</param>
    /// <returns>Counters by name, without the histograms; empty where this KVM has none.</returns>
    /// <exception cref="ErrnoException">They cannot be read.</exception>
    public static IReadOnlyDictionary<string, ulong> Read(int fd)
    {
        var counters = new Dictionary<string, ulong>(StringComparer.Ordinal);
        int number = KvmIoctl.Try(fd, KvmRequest.KVM_GET_STATS_FD);
        if (number < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            return errno is ErrnoException.ENOTTY or ErrnoException.EINVAL
                ? counters
                : throw new ErrnoException(nameof(KvmRequest.KVM_GET_STATS_FD), errno);
        }

        using var stats = new FileDescriptor(number);
        KvmStatsHeader header;
        ReadAt(stats, 0, &header, sizeof(KvmStatsHeader));
        if (header.NumDesc > MostDescriptors || header.NameSize is 0 or > LongestName)
        {
            throw new HostException(
                $"KVM_GET_STATS_FD: {header.NumDesc} counters with names of {header.NameSize} bytes: not a format that vmm knows");
        }

        int stride = sizeof(KvmStatsDesc) + (int)header.NameSize;
        byte[] block = new byte[stride * (int)header.NumDesc];
        fixed (byte* start = block)
        {
            ReadAt(stats, header.DescOffset, start, block.Length);
            for (int i = 0; i < (int)header.NumDesc; i++)
            {
                // SAFETY: i < NumDesc, and the array was made that many strides long.
                byte* at = start + (i * stride);
                var descriptor = (KvmStatsDesc*)at;
                if ((descriptor->Flags & TypeMask) >= TypeLinearHistogram || descriptor->Size == 0)
                {
                    continue;
                }

                ulong value;
                ReadAt(stats, header.DataOffset + descriptor->Offset, &value, sizeof(ulong));
                ReadOnlySpan<byte> name = block.AsSpan((i * stride) + sizeof(KvmStatsDesc), (int)header.NameSize);
                int end = name.IndexOf((byte)0);
                counters[Encoding.ASCII.GetString(end < 0 ? name : name[..end])] = value;
            }
        }

        return counters;
    }

    private static void ReadAt(FileDescriptor file, long offset, void* destination, int length)
    {
        // SAFETY: every caller gives a destination of that length.
        long count = LibC.pread(file.Number, destination, length, offset);
        if (count != length)
        {
            throw count < 0
                ? new ErrnoException("KVM statistics", Marshal.GetLastPInvokeError())
                : new HostException($"KVM statistics: {count} bytes instead of {length}");
        }
    }
}
