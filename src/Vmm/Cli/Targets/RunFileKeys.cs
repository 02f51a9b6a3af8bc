using System.CommandLine;

namespace Vmm.Cli.Targets;

/// <summary>The keys of vmm.json: the long options of <c>vmm run</c> without their dashes, and a few more.</summary>
/// <param name="run">The command whose options they are.</param>
/// <param name="ofCall">Options of a whole call, which targets do not have.</param>
/// <param name="notInFile">Options that are allowed on the command line only.</param>
internal sealed class RunFileKeys(Command run, IEnumerable<Option> ofCall, IEnumerable<Option> notInFile)
{
    public const string Command = "command";
    public const string Description = "description";
    public const string Environment = "--env";

    private readonly HashSet<Option> _ofCall = [.. ofCall];
    private readonly HashSet<Option> _notInFile = [.. notInFile];

    public IEnumerable<Option> Options => run.Options.Where(option => !option.Hidden && !_notInFile.Contains(option));

    /// <summary>The names of all keys.</summary>
    public IEnumerable<string> All => Options.Select(KeyOf).Append(Command).Append(Description);

    public static string KeyOf(Option option) => option.Name.TrimStart('-');

    /// <returns>Null if there is none.</returns>
    public Option? Find(string key) => Options.FirstOrDefault(option => KeyOf(option) == key);

    public bool IsOfCall(Option option) => _ofCall.Contains(option);
}
