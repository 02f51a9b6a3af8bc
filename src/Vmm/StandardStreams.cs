using Vmm.Host;

namespace Vmm;

/// <summary>Standard input, output and error are open before anything else is.</summary>
/// <remarks>Otherwise the first file that is opened gets the number of the closed one, and the guest's console would be
/// written into it.</remarks>
internal static class StandardStreams
{
    private const int Input = 0, Output = 1, Error = 2;

    /// <summary>Call it first thing. Input and error that are closed read and write nothing from now on.</summary>
    /// <exception cref="UsageException">Output is closed.</exception>
    public static void Check()
    {
        bool hasOutput = IsOpen(Output);
        for (int fd = Input; fd <= Error; fd++)
        {
            if (!IsOpen(fd))
            {
                // open takes the lowest free number, which is this one.
                _ = LibC.Open("/dev/null", LibC.O_RDWR, 0);
            }
        }

        if (!hasOutput)
        {
            throw new UsageException("standard output is closed; send it to /dev/null if it is not wanted");
        }
    }

    private static bool IsOpen(int fd) => LibC.Fcntl(fd, LibC.F_GETFD, 0) >= 0;
}
