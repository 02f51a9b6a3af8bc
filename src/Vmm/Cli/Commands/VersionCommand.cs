using System.CommandLine;
using System.Reflection;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm version</c>, <c>vmm --version</c>.</summary>
internal static class VersionCommand
{
    /// <summary><c>0.1.0</c></summary>
    public static string Version => Informational.Split('+')[0];

    /// <summary><c>vmm 0.1.0 (commit 4d430634dea2)</c></summary>
    public static string Text
    {
        get
        {
            const int Digits = 12;
            string commit = Informational.Split('+') is [_, var hash, ..] ? $" (commit {hash[..Math.Min(Digits, hash.Length)]})" : "";
            return $"vmm {Version}{commit}\n";
        }
    }

    private static string Informational =>
        typeof(VersionCommand).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    public static Command Create()
    {
        var command = new Command("version", "Print the version");
        command.SetAction(_ =>
        {
            Stdout.Write(Text);
            return ExitCodes.Success;
        });
        return command;
    }
}
