using System.Text.Json;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Control;

/// <summary>What goes over a control socket is JSON, which has text only: names of files and arguments that are none would arrive as other
/// ones.</summary>
internal static class ControlText
{
    /// <param name="word">Null is none.</param>
    /// <returns>The word.</returns>
    /// <exception cref="UsageException">It is not UTF-8.</exception>
    public static string? Check(string? word) => word is null || FileNames.IsText(word)
        ? word
        : throw new UsageException($"{PrintableText.Of(word)}: is not UTF-8, which is all that a machine's control socket takes");

    /// <summary>For who asks for a process.</summary>
    /// <exception cref="UsageException">A word is not UTF-8.</exception>
    public static JsonElement ToJson(this ExecArguments exec)
    {
        foreach (string? word in (string?[])[.. exec.Args, .. exec.Env, exec.User, exec.Cwd])
        {
            Check(word);
        }

        return JsonSerializer.SerializeToElement(exec, ControlJson.Default.ExecArguments);
    }
}
