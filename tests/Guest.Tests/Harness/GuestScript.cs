using System.Text;

namespace Vmm.Guest.Tests.Harness;

/// <summary>How the reference guest is told what to do (firmware/rootfs/init.c).</summary>
internal static class GuestScript
{
    /// <summary>The interactive shell's prompt, at home.</summary>
    public const string Prompt = "vmm:~# ";

    /// <summary>For --cmdline: a script to run instead of a shell; its exit status becomes vmm's.</summary>
    public static string Option(string script) =>
        "vmm.sh=" + Convert.ToBase64String(Encoding.UTF8.GetBytes(script.ReplaceLineEndings("\n")));

    /// <summary>The value of a line <c>name=value</c> that a script printed.</summary>
    public static string Value(string output, string name)
    {
        foreach (string line in output.Split('\n'))
        {
            if (line.StartsWith(name + "=", StringComparison.Ordinal))
            {
                return line[(name.Length + 1)..].TrimEnd('\r');
            }
        }

        throw new InvalidOperationException($"no line '{name}=...' in:\n{output}");
    }
}
