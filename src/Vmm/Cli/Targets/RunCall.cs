using System.CommandLine;
using Vmm.Cli.Commands;

namespace Vmm.Cli.Targets;

/// <summary>A run that was asked for: a command line, or a target of a file, with the file's defaults.</summary>
/// <param name="Target">Its name; null for a command line.</param>
/// <param name="Options">Those of one run.</param>
/// <param name="Each">The values of --each; none for one run.</param>
internal sealed record RunCall(
    string? Target,
    IReadOnlyList<(Option Option, IReadOnlyList<string> Values)> Options,
    IReadOnlyList<string> Command,
    IReadOnlyList<string> Each)
{
    /// <summary>An option of the command line replaces the target's, and the target's the default's; variables (--env) are
    /// collected, and the last one of a name counts.</summary>
    /// <param name="isEach">Is an option --each?</param>
    public static RunCall Merge(RunWords given, RunTarget? defaults, RunTarget? target, Func<Option, bool> isEach)
    {
        bool IsTargets(Option option) => target is not null && target.Options.Exists(each => each.Option == option);
        var options = new List<(Option Option, IReadOnlyList<string> Values)>();
        options.AddRange((defaults?.Options ?? []).Where(
            each => IsAdded(each.Option) || !(given.Has(each.Option) || IsTargets(each.Option))));
        options.AddRange((target?.Options ?? []).Where(each => IsAdded(each.Option) || !given.Has(each.Option)));
        options.AddRange(given.Options);

        // With a target the words behind -- are added to its command; without one they are the command.
        IReadOnlyList<string> known = target?.Command ?? defaults?.Command ?? [];
        return new RunCall(
            target?.Name,
            [.. options.Where(each => RunManyOptions.IsOfOne(each.Option) && !isEach(each.Option))],
            target is null && given.Command.Count > 0 ? given.Command : [.. known, .. given.Command],
            [.. options.Where(each => isEach(each.Option)).SelectMany(each => each.Values)]);
    }

    private static bool IsAdded(Option option) => option.Name == RunFileKeys.Environment;
}
