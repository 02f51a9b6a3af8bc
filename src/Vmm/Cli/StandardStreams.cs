using Vmm.Host;

namespace Vmm.Cli;

/// <summary>Checks that standard input, output and error are open, before anything else is opened.</summary>
/// <remarks>Otherwise the first file that is opened gets the number of the closed one, and the guest's console would be
/// written into it.</remarks>
internal static class StandardStreams
{
    private const int Input = 0, Output = 1, Error = 2;

    /// <summary>Must be called first. A closed error stream is replaced by /dev/null.</summary>
    /// <exception cref="UsageException">Input or output is closed.</exception>
    public static void Check()
    {
        bool hasInput = IsGiven(Input);
        bool hasOutput = IsGiven(Output);
        for (int fd = Input; fd <= Error; fd++)
        {
            if (LibC.fcntl(fd, LibC.F_GETFD, 0) < 0)
            {
                // open takes the lowest free number, which is this one.
                _ = LibC.open("/dev/null", LibC.O_RDWR, 0);
            }
        }

        if (!hasOutput)
        {
            throw new UsageException("standard output is closed; send it to /dev/null if it is not wanted");
        }

        if (!hasInput)
        {
            throw new UsageException("standard input is closed; take it from /dev/null if there is none");
        }
    }

    /// <summary>A descriptor that was passed by exec has no FD_CLOEXEC; one that has it was opened by the runtime, which may
    /// use the number of a closed stream for its own file (/dev/urandom).</summary>
    private static bool IsGiven(int fd) => LibC.fcntl(fd, LibC.F_GETFD, 0) == 0;
}
