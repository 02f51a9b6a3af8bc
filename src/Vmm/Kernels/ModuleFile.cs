using System.IO.Compression;
using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>A module as distributions store it: by itself, or compressed.</summary>
internal static class ModuleFile
{
    /// <summary>Copies one, unpacked.</summary>
    /// <exception cref="HostException">It cannot be unpacked here.</exception>
    public static void Unpack(string from, string to)
    {
        switch (Path.GetExtension(from))
        {
            case ".gz":
                using (var packed = new GZipStream(File.OpenRead(from), CompressionMode.Decompress))
                using (FileStream file = File.Create(to))
                {
                    packed.CopyTo(file);
                }

                break;
            case ".xz":
                UnpackBy("xz", "xz-utils", from, to);
                break;
            case ".zst":
                UnpackBy("zstd", "zstd", from, to);
                break;
            default:
                File.Copy(from, to);
                break;
        }
    }

    private static void UnpackBy(string program, string package, string from, string to)
    {
        File.Create(to).Dispose();
        using FileDescriptor target = FileDescriptor.Open(to, LibC.O_RDWR);
        ChildProcess.Ended ended = ChildProcess.Run("sh", ["-c", $"exec {program} -dcq -- \"$1\" >&3", "vmm", from], target.Number);
        if (ended.Code != 0)
        {
            throw new HostException(ended.IsMissing
                ? $"{from}: {program} is needed to unpack it; {PackageManager.Install(package, program)}"
                : $"{from}: cannot be unpacked: {ended.FirstLine}");
        }
    }
}
