namespace Vmm.Host;

/// <summary>pipe(2).</summary>
internal static unsafe class Pipe
{
    public static (FileDescriptor Read, FileDescriptor Write) Create()
    {
        int* pair = stackalloc int[2];

        // SAFETY: room for two numbers on this stack.
        ErrnoException.Check(LibC.pipe2(pair, LibC.O_CLOEXEC), "pipe2");
        return (new FileDescriptor(pair[0]), new FileDescriptor(pair[1]));
    }
}
