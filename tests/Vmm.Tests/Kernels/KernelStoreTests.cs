using System.IO.Compression;
using System.Text;
using Vmm.Host;
using Vmm.Kernels;

namespace Vmm.Tests.Kernels;

public sealed class KernelStoreTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-kernels").FullName;
    private readonly KernelStore _store;

    public KernelStoreTests() => _store = new KernelStore(Path.Combine(_folder, "store"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_kernel_comes_back_with_the_modules_that_guests_need_in_the_order_of_loading()
    {
        string tree = MakeTree(builtIn: ["kernel/fs/overlayfs/overlay.ko"]);
        MakeModule(tree, "kernel/fs/jbd2/jbd2.ko");
        MakeModule(tree, "kernel/fs/mbcache.ko");
        MakeModule(tree, "kernel/fs/ext4/ext4.ko", "jbd2,mbcache");
        MakeModule(tree, "kernel/net/vsock-common.ko", "overlay");
        MakeModule(tree, "kernel/net/vmw_vsock_virtio_transport.ko", "vsock-common");
        MakeModule(tree, "kernel/drivers/unrelated.ko");
        StoredKernel added = Add("debian", "6.1.0-1-test", tree);
        StoredKernel kernel = _store.Find("debian")!;
        Assert.Equal(added.KernelPath, kernel.KernelPath);
        Assert.Equal("a kernel", File.ReadAllText(kernel.KernelPath));
        Assert.Equal(["overlay"], kernel.BuiltIn);
        Assert.True(kernel.KnowsModules);
        Assert.Equal(["jbd2.ko", "mbcache.ko", "ext4.ko"], kernel.Modules["ext4"]);
        Assert.Equal(["vsock_common.ko", "vmw_vsock_virtio_transport.ko"], kernel.Modules["vmw_vsock_virtio_transport"]);
        Assert.Equal(
            ["ext4.ko", "jbd2.ko", "mbcache.ko", "vmw_vsock_virtio_transport.ko", "vsock_common.ko"],
            Directory.EnumerateFiles(Path.GetDirectoryName(kernel.ModulePath("x"))!).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(kernel.Release, _store.Owner(kernel.KernelPath)!.Release);
        Assert.Null(_store.Owner("/boot/vmlinuz-6.1.0-1-test"));
    }

    /// <summary>It is not said that there are none.</summary>
    [Fact]
    public void A_store_that_cannot_be_read_is_an_error_with_its_path()
    {
        Assert.Empty(_store.List());
        File.CreateSymbolicLink(_store.Root, _store.Root);          // for root, too
        HostException error = Assert.Throws<HostException>(_store.List);
        Assert.StartsWith(_store.Root + ": ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_loads_each_file_once_and_reports_first_what_the_kernel_lacks()
    {
        string tree = MakeTree(builtIn: ["kernel/drivers/virtio/virtio_pci.ko"]);
        MakeModule(tree, "virtio_blk.ko", "shared");
        MakeModule(tree, "ext4.ko", "shared");
        MakeModule(tree, "shared.ko");
        StoredKernel kernel = Add("mine", "6.6.6", tree);
        Assert.Equal(
            ["shared.ko", "virtio_blk.ko", "ext4.ko"],
            GuestModules.FilesFor(kernel, ["virtio_pci", "virtio_blk", "vmw_vsock_virtio_transport", GuestModules.Checksum, "ext4"]));
        UsageException error = Assert.Throws<UsageException>(() => GuestModules.FilesFor(kernel, ["virtio_pci", "virtiofs"]));
        Assert.Contains("has no virtiofs", error.Message, StringComparison.Ordinal);
        Assert.Contains("--pack", error.Message, StringComparison.Ordinal);
        StoredKernel unknown = _store.Add("bare", MakeKernel(), "6.6.7", null, "a file");
        Assert.Empty(GuestModules.FilesFor(unknown, ["virtiofs"]));
    }

    [Theory]
    [InlineData("debian@6.1.0-56", "linux-image-6.1.0-56-cloud-amd64")]
    [InlineData("fedora@6.17.1-300.fc43", "kernel-core-6.17.1-300.fc43.x86_64")]
    public void A_version_that_is_kept_is_not_fetched_again(string name, string package) =>
        Assert.Equal(_store.Add("newest", MakeKernel(), "6.6.8", null, package).KernelPath, KernelNames.Resolve(name, _store));

    [Fact]
    public void A_kernel_in_the_tree_that_it_was_built_in_is_checked_by_its_configuration()
    {
        string boot = Directory.CreateDirectory(Path.Combine(_folder, "arch/x86/boot")).FullName;
        string kernel = Path.Combine(boot, "bzImage"), config = Path.Combine(_folder, ".config");
        File.WriteAllText(config, "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_FS=m\n# CONFIG_OVERLAY_FS is not set\n");
        File.WriteAllText(kernel, "");
        GuestModules.CheckBuiltIn(kernel, ["virtio_pci", "vmw_vsock_virtio_transport"], mayLoad: false);
        GuestModules.CheckBuiltIn(kernel, ["virtiofs"], mayLoad: true);
        string said = Assert.Throws<UsageException>(() => GuestModules.CheckBuiltIn(kernel, ["virtiofs"], mayLoad: false)).Message;
        Assert.Contains("virtiofs is a module (CONFIG_VIRTIO_FS=m", said, StringComparison.Ordinal);
        said = Assert.Throws<UsageException>(() => GuestModules.CheckBuiltIn(kernel, ["overlay"], mayLoad: true)).Message;
        Assert.Contains("has no overlay (CONFIG_OVERLAY_FS in", said, StringComparison.Ordinal);

        // A configuration that was changed since is another kernel's.
        File.SetLastWriteTimeUtc(config, DateTime.UtcNow.AddHours(1));
        GuestModules.CheckBuiltIn(kernel, ["overlay"], mayLoad: false);
    }

    [Theory]
    [InlineData(".xz", "xz")]
    [InlineData(".zst", "zstd")]
    [InlineData(".gz", null)]
    public void Compressed_modules_are_unpacked(string extension, string? program)
    {
        string tree = MakeTree(builtIn: []);
        MakeModule(tree, "virtiofs.ko", "fuse");
        MakeModule(tree, "fuse.ko");
        byte[] plain = File.ReadAllBytes(Path.Combine(tree, "virtiofs.ko"));
        foreach (string name in (string[])["virtiofs.ko", "fuse.ko"])
        {
            string path = Path.Combine(tree, name);
            if (program is null)
            {
                using FileStream source = File.OpenRead(path);
                using var packed = new GZipStream(File.Create(path + extension), CompressionLevel.Fastest);
                source.CopyTo(packed);
            }
            else
            {
                using FileDescriptor nothing = FileDescriptor.Open("/dev/null", LibC.O_RDWR);
                Assert.Equal(0, ChildProcess.Run(program, ["-q", "-k", path], nothing.Number).Code);
            }

            File.Delete(path);
        }

        StoredKernel kernel = Add("packed", "6.1.2", tree);
        Assert.Equal(["fuse.ko", "virtiofs.ko"], kernel.Modules["virtiofs"]);
        Assert.Equal(plain, File.ReadAllBytes(kernel.ModulePath("virtiofs.ko")));
    }

    [Fact]
    public void Modules_that_need_each_other_in_a_circle_or_miss_one_do_no_harm()
    {
        string tree = MakeTree(builtIn: []);
        MakeModule(tree, "ext4.ko", "a");
        MakeModule(tree, "a.ko", "ext4");
        Assert.Equal(["a.ko", "ext4.ko"], Add("circle", "1.0", tree).Modules["ext4"]);
        MakeModule(tree, "xfs.ko", "missing");
        UsageException error = Assert.Throws<UsageException>(() => Add("hole", "1.1", tree));
        Assert.Contains("xfs needs the module missing", error.Message, StringComparison.Ordinal);
        Assert.Null(_store.Find("1.1"));
        Assert.Empty(Directory.EnumerateDirectories(_store.Root, ".*"));
    }

    [Fact]
    public void The_newest_of_a_name_is_taken_and_one_that_is_damaged_is_not_there()
    {
        Add("debian", "6.1.0-1", MakeTree([]));
        Add("debian", "6.1.0-2", MakeTree([]));
        Assert.Equal("6.1.0-2", _store.Find("debian")!.Release);
        Assert.Equal("6.1.0-1", _store.Find("6.1.0-1")!.Release);
        Assert.Equal("6.1.0-2", _store.Newest!.Release);
        File.WriteAllText(Path.Combine(_store.Root, "6.1.0-2", StoredKernel.FileName), "{");
        Assert.Equal("6.1.0-1", _store.Find("debian")!.Release);
        Assert.True(_store.Remove("debian"));
        Assert.False(_store.Remove("debian"));
        Assert.Empty(_store.List());
    }

    [Fact]
    public void Nothing_in_a_kernels_description_leads_out_of_its_directory()
    {
        StoredKernel kernel = Add("x", "6.1.3", MakeTree([]));
        string path = Path.Combine(kernel.Directory, StoredKernel.FileName);
        string text = File.ReadAllText(path);
        foreach (string wrong in (string[])
            [
                text.Replace("\"modules\": {}", "\"modules\": { \"ext4\": [\"../../x.ko\"] }", StringComparison.Ordinal),
                text.Replace("6.1.3", "../6.1.3", StringComparison.Ordinal),
                text.Replace("\"format\": 1", "\"format\": 2", StringComparison.Ordinal),
                text.Replace("\"builtIn\": []", "\"builtIn\": null", StringComparison.Ordinal),
                "[]", "", "\0",
            ])
        {
            Assert.NotEqual(text, wrong);
            File.WriteAllText(path, wrong);
            Assert.Null(StoredKernel.TryRead(kernel.Directory));
        }
    }

    [Fact]
    public void A_file_wins_over_a_name_and_what_is_neither_gets_a_hint()
    {
        Assert.Equal("./debian", KernelNames.Resolve("./debian", _store));
        StoredKernel kernel = Add("mine", "6.6.6", MakeTree([]));
        Assert.Equal(kernel.KernelPath, KernelNames.Resolve("mine", _store));
        Assert.Equal(kernel.KernelPath, KernelNames.Resolve("6.6.6", _store));
        UsageException error = Assert.Throws<UsageException>(() => KernelNames.Resolve("debain", _store));
        Assert.Contains("did you mean debian?", error.Message, StringComparison.Ordinal);

        // As other programs take it.
        string boot = Directory.CreateDirectory(Path.Combine(_folder, "tree/arch/x86/boot")).FullName;
        error = Assert.Throws<UsageException>(() => KernelNames.Resolve(Path.Combine(_folder, "tree"), _store));
        Assert.EndsWith("/tree: is a directory; a kernel is a file, bzImage or vmlinux", error.Message, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(boot, "bzImage"), "a kernel");
        error = Assert.Throws<UsageException>(() => KernelNames.Resolve(Path.Combine(_folder, "tree"), _store));
        Assert.EndsWith("/tree: is a directory; did you mean " + Path.Combine(boot, "bzImage?"), error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_kernel_given_it_is_the_newest_or_an_error_that_says_what_to_do()
    {
        UsageException error = Assert.Throws<UsageException>(() => KernelNames.Default(_store, host: null));
        Assert.Contains("vmm kernel add debian", error.Message, StringComparison.Ordinal);
        StoredKernel kernel = Add("mine", "6.6.6", MakeTree([]));
        Assert.Equal(kernel.KernelPath, KernelNames.Default(_store, host: null));
        Assert.Equal(kernel.KernelPath, KernelNames.Default(_store, new HostKernel("may not be read", null)));
    }

    /// <summary>Distributions keep it from users who are not root.</summary>
    [Fact]
    public void This_hosts_kernel_that_may_not_be_read_or_is_not_there_is_one_line_with_a_way_out()
    {
        foreach ((HostKernel? host, string why) in ((HostKernel?, string)[])
            [(new HostKernel("may not be read; 'sudo chmod +r it' allows it", null), "may not be read; 'sudo chmod +r it' allows it"), (null, "there is no /boot/vmlinuz-")])
        {
            string message = Assert.Throws<UsageException>(() => KernelNames.AddHost(_store, host)).Message;
            Assert.StartsWith("--kernel host: ", message, StringComparison.Ordinal);
            Assert.Contains(why, message, StringComparison.Ordinal);
            Assert.EndsWith($"this fetches another: {KernelNames.HowToGetOne}", message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
        }
    }

    [Fact]
    public void Leftovers_of_killed_processes_are_deleted_at_the_next_addition()
    {
        Directory.CreateDirectory(Path.Combine(_store.Root, ".fetch.4194304", "root"));
        string mine = Path.Combine(_store.Root, $".fetch.{Environment.ProcessId}");
        Directory.CreateDirectory(mine);
        Add("x", "6.1.3", MakeTree([]));
        Assert.Equal([mine], Directory.EnumerateDirectories(_store.Root, ".fetch*"));
    }

    [Fact]
    public async Task A_kernel_that_another_process_fetches_is_waited_for_and_used()
    {
        using var waits = new ManualResetEventSlim();
        Task<StoredKernel> second;
        using (_store.LockForFetching(static () => Assert.Fail("nobody has it")))
        {
            second = Task.Run(() =>
            {
                waits.Set();
                return DistributionKernels.Fetch("debian", _store);        // by apt it would be another release
            });
            waits.Wait();
            await Task.Delay(200);
            Assert.False(second.IsCompleted);
            _store.Add("debian", MakeKernel(), "6.1.0-1-fetched", null, "a package");
        }

        Assert.Equal("6.1.0-1-fetched", (await second).Release);
    }

    [Fact]
    public void Where_nothing_says_what_is_built_in_nothing_is_said_to_be_missing()
    {
        string tree = MakeTree([]);
        File.Delete(Path.Combine(tree, "modules.builtin"));
        MakeModule(tree, "virtio_blk.ko");
        StoredKernel kernel = Add("x", "6.1.3", tree);
        Assert.Equal(["virtio_blk.ko"], GuestModules.FilesFor(kernel, ["virtio_blk", "virtiofs"]));
        Assert.Empty(GuestModules.MissingIn(kernel));
        Assert.Contains("virtiofs", GuestModules.MissingIn(Add("y", "6.1.4", MakeTree(["kernel/x.ko"]))).Select(static each => each.Name));
    }

    [Theory]
    [InlineData("debian", "linux-image-cloud-amd64", "")]
    [InlineData("debian-rt", "linux-image-rt-amd64", "")]
    [InlineData("debian@6.1.0-56", "linux-image-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64")]
    [InlineData("debian-rt@6.1.0-56", "linux-image-rt-amd64", "linux-image-6.1.0-56-rt-amd64")]
    public void Names_are_packages(string name, string newest, string exact)
    {
        Assert.True(DistributionKernels.TryParse(name, out _, out string foundNewest, out string foundExact));
        Assert.Equal((newest, exact), (foundNewest, foundExact));
    }

    [Theory]
    [InlineData("debian@")]
    [InlineData("debian@../x")]
    [InlineData("debian@$(id)")]
    [InlineData("ubuntu")]
    [InlineData("")]
    public void Others_are_none(string name) => Assert.False(DistributionKernels.Knows(name));

    private StoredKernel Add(string name, string release, string tree) => _store.Add(name, MakeKernel(), release, new ModuleTree(tree), "a test");

    private string MakeKernel()
    {
        string path = Path.Combine(_folder, "kernel");
        File.WriteAllText(path, "a kernel");
        return path;
    }

    private string MakeTree(string[] builtIn)
    {
        string tree = Path.Combine(_folder, $"{Guid.NewGuid():N}");
        Directory.CreateDirectory(tree);
        File.WriteAllLines(Path.Combine(tree, "modules.builtin"), builtIn);
        return tree;
    }

    /// <summary>As much of one as is looked at: .modinfo.</summary>
    private static void MakeModule(string tree, string path, string needs = "")
    {
        string file = Path.Combine(tree, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllBytes(file, Encoding.ASCII.GetBytes($"\x7f" + $"ELF\0license=GPL\0depends={needs}\0name={ModuleTree.NameOf(path)}\0"));
    }
}
