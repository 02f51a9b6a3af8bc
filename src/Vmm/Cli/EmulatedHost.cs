using System.Runtime.InteropServices;
using System.Text;
using Vmm.Host;
using Vmm.Kernels;
using Vmm.Machines;

namespace Vmm.Cli;

/// <summary><c>--emulated</c>: runs the same command line in a host with KVM that QEMU emulates.</summary>
/// <remarks>The emulated host consists of scripts and programs in firmware/kvm-host (libexec/vmm where vmm is installed). This
/// process replaces itself with them by exec, so terminal, signals and exit code need no code here.</remarks>
internal static unsafe class EmulatedHost
{
    public const string Option = "--emulated";

    /// <summary>Has the effect of the option, unless empty or 0.</summary>
    public const string Variable = "VMM_EMULATED";

    public const string Description =
        "Run this command in an emulated host that has KVM: slower, but everywhere (also VMM_EMULATED=1)";

    /// <summary>Set by the emulated host for programs in it: "1" where it ends with the command, "stays" where machines
    /// that the command leaves in the background run on.</summary>
    public const string InsideVariable = "VMM_KVM_EMULATED";

    private const string Script = "kvm-host/run";

    /// <summary>Replaces this process with the same command line there, if it asks for that.</summary>
    /// <param name="args">Without the program's name.</param>
    /// <returns>Null where it runs here; an exit code where the other one cannot be started.</returns>
    public static int? HandOver(string[] args)
    {
        EmulatedPlace place = EmulatedPlaces.Of(
            args, Environment.GetEnvironmentVariable(Variable), Environment.GetEnvironmentVariable(InsideVariable) is { Length: > 0 },
            static name => EmulatedMachines.IsThere(name));
        if (place == EmulatedPlace.NotAsked)
        {
            return null;
        }

        EmulatedMachines.UseDirectories();
        return place == EmulatedPlace.Here || (place == EmulatedPlace.WithMachines && !EmulatedMachines.HaveHost())
            ? null
            : Run(args.Length, place == EmulatedPlace.Host ? "--local" : "--stays");       // a fork of a machine stays, too
    }

    private static int Run(int argumentCount, string kind)
    {
        // As bytes: a file's name need not be UTF-8. The words before the arguments are the program: vmm, or dotnet vmm.dll.
        byte[][] words = Words(File.ReadAllBytes("/proc/self/cmdline"));
        int first = words.Length - argumentCount;
        int end = Array.FindIndex(words, first, word => word.AsSpan().SequenceEqual("--"u8));
        byte[] option = Encoding.UTF8.GetBytes(Option);
        FetchKernel(words.AsSpan(first..(end < 0 ? words.Length : end)));
        IEnumerable<byte[]> arguments = words.Skip(first)
            .Where((word, index) => (end >= 0 && first + index > end) || !word.AsSpan().SequenceEqual(option));
        string[] variables = [.. EmulatedMachines.Variables.SelectMany(static one => (string[])["--env", $"{one.Name}={one.Value}"])];
        return Execute([.. Texts([kind, .. variables, "--", Environment.ProcessPath!]), .. words[1..first], .. arguments]);
    }

    /// <summary>A kernel's name is replaced by its file: the emulated host has no network and another kernel.</summary>
    private static void FetchKernel(Span<byte[]> options)
    {
        for (int i = 0; i < options.Length; i++)
        {
            string word = Encoding.UTF8.GetString(options[i]);
            if (word is "-k" or "--kernel" && i + 1 < options.Length)
            {
                options[i + 1] = Resolve(options[i + 1]);
            }
            else if (word.StartsWith("--kernel=", StringComparison.Ordinal))
            {
                options[i] = [.. "--kernel="u8, .. Resolve(options[i][9..])];
            }
        }
    }

    /// <summary>A word that is not UTF-8 is a file's name.</summary>
    private static byte[] Resolve(byte[] name) =>
        Ascii.IsValid(name) ? Encoding.UTF8.GetBytes(KernelNames.Resolve(Encoding.UTF8.GetString(name), KernelStore.Default)) : name;

    /// <summary><c>vmm host</c>; returns only if that fails, with an exit code.</summary>
    /// <param name="action">start, status or stop.</param>
    public static int Manage(string action) => Execute([.. Texts("--warm", action)]);

    /// <summary>The folder of the program's scripts, or null.</summary>
    /// <param name="program">The path of vmm itself.</param>
    /// <param name="isThere">Whether a file exists.</param>
    public static string? FindScript(string program, Func<string, bool> isThere)
    {
        string folder = Path.GetDirectoryName(program) ?? "/";
        string installed = Path.GetFullPath(Path.Combine(folder, "../libexec/vmm", Script));
        if (isThere(installed))
        {
            return installed;
        }

        // In a checkout everything that is built is below out/.
        for (string? at = folder; at is not null; at = Path.GetDirectoryName(at))
        {
            if (Path.GetFileName(at) == "out")
            {
                string source = Path.Combine(Path.GetDirectoryName(at)!, "firmware", Script);
                return isThere(source) ? source : null;
            }
        }

        return null;
    }

    private static byte[][] Texts(params string[] words) => [.. words.Select(Encoding.UTF8.GetBytes)];

    private static byte[][] Words(byte[] commandLine)
    {
        var words = new List<byte[]>();
        for (int start = 0; start < commandLine.Length;)
        {
            int length = commandLine.AsSpan(start).IndexOf((byte)0);
            words.Add(commandLine.AsSpan(start, length).ToArray());
            start += length + 1;
        }

        return [.. words];
    }

    private static int Execute(byte[][] arguments)
    {
        string? script = FindScript(Environment.ProcessPath ?? "/", File.Exists)
            ?? FindScript(AppContext.BaseDirectory, File.Exists);
        if (script is null)
        {
            Stderr.WriteLine("vmm: the emulated host is not installed: there is no ../libexec/vmm/kvm-host beside vmm's binary");
            return ExitCodes.HostCannot;
        }

        byte[][] all = [.. Texts(script), .. arguments];
        byte*[] pointers = new byte*[all.Length + 1];
        for (int each = 0; each < all.Length; each++)
        {
            // Never freed: exec replaces this process.
            pointers[each] = (byte*)NativeMemory.AllocZeroed((nuint)all[each].Length + 1);
            all[each].CopyTo(new Span<byte>(pointers[each], all[each].Length));
        }

        // SAFETY: an array of pointers to texts that end with a NUL, itself ended by a null.
        fixed (byte** list = pointers)
        {
            _ = LibC.execv(list[0], list);
        }

        Stderr.WriteLine($"vmm: {new ErrnoException(script, Marshal.GetLastPInvokeError()).Message}");
        return ExitCodes.HostCannot;
    }
}
