namespace Vmm.Run;

/// <summary>How a run ended: the one truth that its exit code and its message tell.</summary>
/// <param name="Code">What vmm exits with.</param>
/// <param name="Message">One line for people; null where the command's own code says it all.</param>
/// <param name="ShowConsole">Do the last lines of the guest's console belong to the message?</param>
internal sealed record RunVerdict(int Code, string? Message = null, bool ShowConsole = false)
{
    public const int TimedOut = 124;
    public const int VmmFailed = 125;
    public const int NotExecutable = 126;
    public const int NotFound = 127;

    /// <summary>The guest's kernel panicked, as virtme-ng has it.</summary>
    public const int VirtmePanicked = 255;

    public static RunVerdict Failed(string message, bool showConsole = false) => new(VmmFailed, message, showConsole);
}
