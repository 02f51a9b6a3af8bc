namespace Vmm.Boot;

/// <summary>The user's kernel, initramfs or command line cannot be booted. The message is one line that names the
/// file, says what is wrong with it and, where there is something to do, what to do.</summary>
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
}
