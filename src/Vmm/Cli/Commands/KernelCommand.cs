using System.CommandLine;
using System.Globalization;
using Vmm.Host;
using Vmm.Kernels;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm kernel list|add|remove|path</c>: the kernels that vmm stores under a name.</summary>
internal static class KernelCommand
{
    public static Command Create()
    {
        var command = new Command("kernel", "Fetch, store and list kernels that --kernel takes by name");
        command.Subcommands.Add(CreateList());
        command.Subcommands.Add(CreateAdd());
        command.Subcommands.Add(CreateRemove());
        command.Subcommands.Add(CreatePath());
        return command;
    }

    private static Command CreateList()
    {
        var command = new Command("list", "List the stored kernels, and which one is the default of vmm run");
        command.SetAction(_ =>
        {
            List(KernelStore.Default);
            return ExitCodes.Success;
        });
        return command;
    }

    private static Command CreateAdd()
    {
        var kernel = new Argument<string>("KERNEL")
        {
            Description = $"A file, host for the kernel that runs here, or one that is fetched: {DistributionKernels.Names}",
        };
        var name = new Option<string?>("--name") { Description = "By which --kernel takes it, beside its release", HelpName = "NAME" };
        var modules = new Option<string?>("--modules")
        {
            Description = "The directory of the kernel's modules: /lib/modules/RELEASE, or the tree that it was built in",
            HelpName = "DIRECTORY",
        };
        var command = new Command("add", "Store a kernel, with the modules that guests need; a newer one of the same name replaces it");
        command.Arguments.Add(kernel);
        command.Options.Add(name);
        command.Options.Add(modules);
        command.SetAction(result =>
        {
            StoredKernel added = Add(
                result.GetRequiredValue(kernel), result.GetValue(name), result.GetValue(modules), KernelStore.Default);
            Stdout.WriteLine(added.Release);
            return ExitCodes.Success;
        });
        return command;
    }

    private static Command CreateRemove()
    {
        var name = new Argument<string>("NAME") { Description = "A release, or a name for its newest" };
        var command = new Command("remove", "Delete a stored kernel");
        command.Arguments.Add(name);
        command.SetAction(result => KernelStore.Default.Remove(result.GetRequiredValue(name))
            ? ExitCodes.Success
            : throw new UsageException($"{result.GetRequiredValue(name)}: no such kernel is stored; 'vmm kernel list' lists them"));
        return command;
    }

    private static Command CreatePath()
    {
        var name = new Argument<string>("NAME") { Description = "As --kernel takes it; fetched if it is not here" };
        var command = new Command("path", "Print the file of a kernel, for other programs");
        command.Arguments.Add(name);
        command.SetAction(result =>
        {
            Stdout.WriteLine(KernelNames.Resolve(result.GetRequiredValue(name), KernelStore.Default));
            return ExitCodes.Success;
        });
        return command;
    }

    private static StoredKernel Add(string kernel, string? name, string? modules, KernelStore store)
    {
        if (name is not null && !StoredKernel.IsPlainName(name))
        {
            throw new UsageException($"--name {name}: takes letters, digits, '.', '-' and '_'");
        }

        if (File.Exists(kernel))
        {
            return store.Add(
                name ?? Path.GetFileName(kernel),
                kernel,
                KernelStore.ReleaseOf(kernel),
                modules is null ? null : new ModuleTree(modules),
                Path.GetFullPath(kernel));
        }

        if (modules is not null || name is not null)
        {
            throw new UsageException($"{kernel}: no such file; --name and --modules go with one");
        }

        return DistributionKernels.Knows(kernel) ? DistributionKernels.Fetch(kernel, store)
            : kernel == KernelNames.Host ? store.Owner(KernelNames.Resolve(kernel, store))!
            : throw new UsageException($"{kernel}: no such file, and none that can be fetched; those are {DistributionKernels.Names}");
    }

    private static void List(KernelStore store)
    {
        HostKernel? host = HostKernel.Find();
        IReadOnlyList<StoredKernel> all = store.List();
        string? taken = KernelNames.DefaultRelease(store, host);
        if (all.Count == 0)
        {
            Stderr.WriteLine($"vmm: no kernels are stored in {store.Root}; this fetches one: {KernelNames.HowToGetOne}");
        }

        foreach (StoredKernel kernel in all)
        {
            string mark = kernel.Release == taken ? "  taken by vmm run" : "";
            Stdout.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{kernel.Release,-32} {kernel.Name,-14} {ByteSize.Format((ulong)SizeOf(kernel.Directory)),8}  {kernel.Added:yyyy-MM-dd}  {kernel.Source}{mark}"));
        }

        if (host is not null)
        {
            Stderr.WriteLine($"vmm: this host's own ({KernelNames.Host}): {HostKernel.Path}"
                + (host.CannotBeRead is { } why ? $", which {why}" : ", taken by vmm run"));
        }
    }

    private static long SizeOf(string directory) =>
        Directory.EnumerateFiles(directory, "*", SearchOption.AllDirectories).Sum(static file => new FileInfo(file).Length) & ~0xfffL;
}
