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

    /// <returns>A message for the user.</returns>
    public string Write(RunResult result, IReadOnlyList<string> console, byte[] output, byte[] error)
    {
        try
        {
            File.WriteAllText(Path.Combine(_directory, "result.json"), JsonSerializer.Serialize(result, RunResultJson.Default.RunResult) + "\n");
            File.WriteAllLines(Path.Combine(_directory, "console.log"), console);
            File.WriteAllBytes(Path.Combine(_directory, "stdout"), output);
            File.WriteAllBytes(Path.Combine(_directory, "stderr"), error);
            string repeat = Path.Combine(_directory, "repeat");
            using (new FileDescriptor(ErrnoException.Check(LibC.open(repeat, LibC.O_WRONLY | LibC.O_CREAT | LibC.O_CLOEXEC, Executable), repeat)))
            {
                File.WriteAllText(repeat, Script());
            }

            return $"its files are in {_directory}; {repeat} runs it again";
        }
        catch (Exception wrong) when (wrong is IOException or UnauthorizedAccessException or ErrnoException)
        {
            return $"--bundle {_directory}: {FileErrors.Describe(wrong) ?? wrong.Message}";
        }
    }

    /// <summary>A script with this command line, in its working directory.</summary>
    private static string Script()
    {
        OwnCommandLine own = OwnCommandLine.Read();
        var script = new StringBuilder("#!/bin/sh\n");
        foreach (string name in (string[])["XDG_CACHE_HOME", "VMM_CACHE", "VMM_EMULATED", "TMPDIR"])
        {
            if (Environment.GetEnvironmentVariable(name) is { } value)
            {
                script.Append($"export {name}={ShellWord.Quote(value)}\n");
            }
        }

        script.Append($"cd {ShellWord.Quote(Environment.CurrentDirectory)} &&\nexec");
        foreach (string word in own.Program.Concat(WithoutOneOfMany(own.Arguments)))
        {
            script.Append($" {ShellWord.Quote(word)}");
        }

        return script.Append('\n').ToString();
    }

    /// <summary>The words without the internal options that the vmm of many runs adds.</summary>
    internal static IEnumerable<string> WithoutOneOfMany(IReadOnlyList<string> words)
    {
        int at = words.ToList().IndexOf(RunReports.OneOfMany), end = words.ToList().IndexOf("--");
        return at < 0 || end < at ? words : words.Where((_, i) => i != at && i != at + 1);
    }
}
