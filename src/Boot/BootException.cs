namespace Vmm.Boot;

/// <summary>The user's kernel, initramfs or command line cannot be booted. The message is one line that names the
/// file, says what is wrong with it and, where possible, what to do.</summary>
public sealed class BootException : Exception
{
    public BootException(string message)
        : base(message)
    {
    }

    public BootException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Nothing is wrong with the file: the host could not open or read it.</summary>
    public bool IsHostsFault => InnerException is { } inner && FileErrors.IsHostsFault(inner);
}
