using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary>Variables for a command in a guest.</summary>
internal static class GuestVariables
{
    /// <summary><c>TERM</c> of a command that has this terminal.</summary>
    public static string Term => Environment.GetEnvironmentVariable("TERM") ?? "linux";

    /// <summary>Names of those of <c>--env</c> whose value is that of this environment.</summary>
    public static IEnumerable<string> Inherited(string[] given) => given.Where(static each => OptionText.Parse(each).Value is null);

    /// <summary>Those of <c>--env</c>, in their order.</summary>
    /// <param name="given">NAME=VALUE; or NAME, for its value in this environment. One that is not set here is left out.</param>
    /// <exception cref="UsageException">One has no name.</exception>
    public static IEnumerable<(string Name, string Value)> Read(string[] given)
    {
        foreach (string each in given)
        {
            (string name, string? value) = OptionText.Parse(each);
            if (name.Length == 0)
            {
                throw new UsageException($"--env {each}: no name; write --env NAME=VALUE");
            }

            value ??= FileNames.Variable(name);
            if (value is not null)
            {
                yield return (name, value);
            }
        }
    }
}
