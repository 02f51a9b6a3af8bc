using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests.Harness;

/// <summary>What is tested, as <c>make publish guest</c> leaves it.</summary>
internal static class Product
{
    /// <summary>How long a test waits for something that must come. Only a hang ever lasts so long: an emulated host
    /// that is busy needs minutes for what a real one does in seconds.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    public static string Vmm { get; } = Find("out/vmm", "make publish");

    public static string BzImage => Find("out/guest/bzImage", "make guest");

    public static string Vmlinux => Find("out/guest/vmlinux", "make guest");

    /// <summary>The reference root file system; never written to: <see cref="TemporaryFolder.CopyOfRootfs"/>.</summary>
    public static string Rootfs => Find("out/guest/rootfs.img", "make guest");

    /// <summary>Larger programs to chroot into, fio among them; never written to.</summary>
    public static string Tools => Find("out/guest/tools.img", "make guest");

    /// <summary>The script that runs a command where KVM works.</summary>
    public static string KvmHost => Find("firmware/kvm-host/run", "git restore firmware");

    private static string Find(string path, string remedy)
    {
        string found = Path.Combine(SourceTree.Root, path);
        return File.Exists(found) ? found : throw new InvalidOperationException($"{found} is not there: run '{remedy}' first");
    }
}
