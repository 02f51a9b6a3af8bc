namespace Vmm.Host;

/// <summary>What the user gave is wrong. The message is one line and says what to do.</summary>
/// <param name="help">The command whose help tells more, for instance <c>vmm disk create</c>; null where help on the command
/// line is of no use, as with a file that is missing.</param>
internal sealed class UsageException(string message, string? help = null) : Exception(message)
{
    public string? Help { get; } = help;

    /// <summary>For the user: the message, and the command that helps.</summary>
    public string Line => Help is null ? Message : $"{Message} ('{Help} --help' tells more)";
}
