using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Run.Results;

/// <summary><c>--bundle DIR</c>: everything about a run that failed, and a script that repeats it. The directory is made before
/// the boot, so that a mistyped one does not cost a run, and is deleted when the run passes.</summary>
internal sealed class FailureBundle
{
    private const uint Executable = 0x1ed;      // 755

    /// <summary>Variables on which it depends what vmm does: where it finds its files and the programs that it starts.</summary>
    private static readonly string[] OfVmm =
        ["HOME", "PATH", "TERM", "TMPDIR", "XDG_CACHE_HOME", "VMM_CACHE", "VMM_COLD", "VMM_EMULATED"];

    private readonly string _directory;
    private readonly bool _isNew;

    /// <exception cref="UsageException">It cannot be made, or written to.</exception>
    public FailureBundle(string directory)
    {
        _directory = Path.GetFullPath(directory);
        _isNew = !Directory.Exists(_directory);
        try
        {
            Directory.CreateDirectory(_directory);
            string probe = Path.Combine(_directory, $".vmm.{Environment.ProcessId}");
            File.Create(probe).Dispose();
            File.Delete(probe);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"--bundle {directory}: {FileErrors.Describe(error)}");
        }
    }

    /// <summary>Deletes it: the run passed.</summary>
    public void Drop()
    {
        if (_isNew && Directory.Exists(_directory) && !Directory.EnumerateFileSystemEntries(_directory).Any())
        {
            Directory.Delete(_directory);
        }
    }

    /// <param name="output">The last of it; likewise the errors.</param>
    /// <param name="input">What the command got.</param>
    /// <param name="inherited">Variables of this environment that the command has.</param>
    /// <returns>A message for the user.</returns>
    public string Write(
        RunResult result, IReadOnlyList<string> console, byte[] output, byte[] error, BundledInput input, IReadOnlyList<string> inherited)
    {
        try
        {
            File.WriteAllText(Path.Combine(_directory, "result.json"), JsonSerializer.Serialize(result, RunResultJson.Default.RunResult) + "\n");
            File.WriteAllLines(Path.Combine(_directory, "console.log"), console);
            File.WriteAllBytes(Path.Combine(_directory, "stdout"), output);
            File.WriteAllBytes(Path.Combine(_directory, "stderr"), error);
            string repeat = Path.Combine(_directory, "repeat"), given = Path.Combine(_directory, "stdin");
            if (input.IsKept)
            {
                File.WriteAllBytes(given, input.ToArray());
            }

            using (new FileDescriptor(ErrnoException.Check(LibC.open(repeat, LibC.O_WRONLY | LibC.O_CREAT | LibC.O_CLOEXEC, Executable), repeat)))
            {
                OwnCommandLine own = OwnCommandLine.Read();
                own = own with { Arguments = [.. WithoutOneOfMany(FileNames.Arguments([.. own.Arguments]))] };
                File.WriteAllBytes(repeat, FileNames.ToBytes(Script(own, inherited, input.IsKept ? given : null, input.IsTooLong)));
            }

            return $"its files are in {_directory}; {repeat} runs it again";
        }
        catch (Exception wrong) when (wrong is IOException or UnauthorizedAccessException or ErrnoException)
        {
            return $"--bundle {_directory}: {FileErrors.Describe(wrong) ?? wrong.Message}";
        }
    }

    /// <summary>A script with a command line, in this working directory, with the variables that matter.</summary>
    /// <param name="inherited">Names of variables that the command has from this environment.</param>
    /// <param name="input">A file with what it is to get; null for the script's own input.</param>
    /// <param name="isTooLong">The run had an input that was not kept.</param>
    internal static string Script(OwnCommandLine own, IReadOnlyList<string> inherited, string? input, bool isTooLong = false)
    {
        var script = new StringBuilder("#!/bin/sh\n");
        foreach (string name in OfVmm)
        {
            script.Append(FileNames.Variable(name) is { } value ? $"export {name}={ShellWord.Quote(value)}\n" : $"unset {name}\n");
        }

        // Their values may be secrets, and bundles are passed on: who repeats the run has to have them.
        foreach (string name in inherited.Except(OfVmm, StringComparer.Ordinal).Where(ShellWord.IsVariable))
        {
            script.Append(FileNames.Variable(name) is null
                ? $"unset {name}\n"
                : $": \"${{{name}?was given to the run by --env, and its value is not kept here: export it}}\"\n");
        }

        if (isTooLong)
        {
            script.Append(CultureInfo.InvariantCulture, $"# Its input had more than {BundledInput.Most >> 20} MiB, and is not kept: give it again.\n");
        }

        script.Append($"cd {ShellWord.Quote(Environment.CurrentDirectory)} &&\nexec");
        foreach (string word in own.Program.Concat(own.Arguments))
        {
            script.Append($" {ShellWord.Quote(word)}");
        }

        return script.Append(input is null ? "\n" : $" <{ShellWord.Quote(input)}\n").ToString();
    }

    /// <summary>The words without the internal options that the vmm of many runs adds.</summary>
    internal static IEnumerable<string> WithoutOneOfMany(IReadOnlyList<string> words)
    {
        int at = words.ToList().IndexOf(RunReports.OneOfMany), end = words.ToList().IndexOf("--");
        return at < 0 || end < at ? words : words.Where((_, i) => i != at && i != at + 1);
    }
}
