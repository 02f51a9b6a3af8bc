namespace Vmm.Guest.Tests;

/// <summary>What the tests run: the published binary and the reference guest, made by `make publish guest`.</summary>
internal static class Paths
{
    private static readonly string Repository = FindRepository();

    public static string Vmm { get; } = Existing("out/vmm");

    public static string Kernel { get; } = Existing("out/guest/vmlinux");

    public static string CompressedKernel { get; } = Existing("out/guest/bzImage");

    public static string RootFileSystem { get; } = Existing("out/guest/rootfs.img");

    private static string FindRepository()
    {
        for (DirectoryInfo? each = new(AppContext.BaseDirectory); each is not null; each = each.Parent)
        {
            if (File.Exists(Path.Combine(each.FullName, "Vmm.sln")))
            {
                return each.FullName;
            }
        }

        throw new InvalidOperationException($"no Vmm.sln above {AppContext.BaseDirectory}");
    }

    private static string Existing(string path)
    {
        string full = Path.Combine(Repository, path);
        return File.Exists(full)
            ? full
            : throw new InvalidOperationException($"{full} is missing: run 'make publish guest' first");
    }
}
