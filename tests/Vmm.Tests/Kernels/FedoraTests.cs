using System.Diagnostics;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kernels;

/// <summary>Kernels by dnf: the real one, with a made repository (firmware/fedora/host), on a PATH without apt.</summary>
public sealed class FedoraTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-fedora").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [DnfFact]
    public void A_kernel_is_fetched_by_dnf_with_its_modules_and_messages_name_dnf()
    {
        (int code, _, string errors) = Run(Path.Combine(SourceTree.Root, "firmware/fedora/host"), [_folder, "6.16.3-200.fc42", "6.17.1-300.fc43"]);
        Assert.True(code == 0, errors);

        // Without a kernel the error names the command for this host.
        (code, _, errors) = Vmm("run", "--config", "none", "--root", "none", "--", "true");
        Assert.Equal((64, true), (code, errors.Contains("this fetches one: vmm kernel add fedora", StringComparison.Ordinal)));

        (code, string output, errors) = Vmm("kernel", "add", "fedora");
        Assert.True(code == 0, errors);
        Assert.Equal("6.17.1-300.fc43.x86_64", output.Trim());
        Assert.Contains("kernel-core-6.17.1-300.fc43.x86_64 is in ", errors, StringComparison.Ordinal);
        string kernel = Vmm("kernel", "path", "fedora").Output.Trim();
        Assert.Equal("the kernel 6.17.1-300.fc43\n", File.ReadAllText(kernel));
        string modules = Path.Combine(Path.GetDirectoryName(kernel)!, "modules");
        Assert.Equal(["fuse.ko", "virtiofs.ko"], Directory.GetFiles(modules).Select(Path.GetFileName).Order(StringComparer.Ordinal));

        Assert.Equal("6.16.3-200.fc42.x86_64", Vmm("kernel", "add", "fedora@6.16.3-200.fc42").Output.Trim());
        (code, _, errors) = Vmm("kernel", "add", "fedora@6.9.9-1.fc40");
        Assert.Equal(69, code);
        Assert.EndsWith("vmm: --kernel fedora@6.9.9-1.fc40: No package kernel-core-6.9.9-1.fc40 available.\n", errors, StringComparison.Ordinal);

        // As in containers of Fedora's, which have dnf without its plug-ins.
        string dnf = Path.Combine(_folder, "bin/dnf");
        File.WriteAllText(dnf, File.ReadAllText(dnf).Replace("\"$@\"", "--disableplugin=download \"$@\"", StringComparison.Ordinal));
        (code, _, errors) = Vmm("kernel", "add", "fedora");
        Assert.Equal(69, code);
        Assert.EndsWith("vmm: --kernel fedora: dnf has no download; dnf install dnf-plugins-core\n", errors, StringComparison.Ordinal);
        Assert.Empty(Directory.GetDirectories(Path.Combine(_folder, "cache-home/vmm/kernels"), ".fetch.*"));
    }

    private (int Code, string Output, string Errors) Vmm(params string[] arguments) =>
        Run(Environment.ProcessPath!, [Path.Combine(AppContext.BaseDirectory, "vmm.dll"), .. arguments], Path.Combine(_folder, "bin"));

    private (int Code, string Output, string Errors) Run(string program, string[] arguments, string? path = null)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["XDG_CACHE_HOME"] = Path.Combine(_folder, "cache-home");
        start.Environment["PATH"] = path ?? Environment.GetEnvironmentVariable("PATH");
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.GetAwaiter().GetResult());
    }

    private sealed class DnfFactAttribute : FactAttribute
    {
        public DnfFactAttribute()
        {
            if (Environment.UserName != "root" && !(File.Exists("/usr/bin/dnf") && File.Exists("/usr/bin/createrepo_c")))
            {
                Skip = "needs dnf, dnf-plugins-core, rpm and createrepo-c, which only root can install";
            }
        }
    }
}
