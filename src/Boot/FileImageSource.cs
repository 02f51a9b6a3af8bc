using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

internal sealed class FileImageSource : ImageSource
{
    private readonly SafeFileHandle _file;

    private FileImageSource(string path, SafeFileHandle file, long length)
        : base(path, length) => _file = file;

    public static FileImageSource Open(string path, string role)
    {
        if (Directory.Exists(path))
        {
            throw new BootException($"{role} {path}: is a directory: give a file");
        }

        SafeFileHandle? file = null;
        try
        {
            // FileShare.ReadWrite: .NET would otherwise take an advisory lock, which nobody else here honours.
            file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            long length = RandomAccess.GetLength(file);
            if (length == 0)
            {
                throw new BootException($"{role} {path}: is empty");
            }

            return new FileImageSource(path, file, length);
        }
        catch (Exception error)
        {
            file?.Dispose();
            if (FileErrors.Describe(error) is not { } reason)
            {
                throw;
            }

            string remedy = error is UnauthorizedAccessException ? ": make it readable for this user" : "";
            throw new BootException($"{role} {path}: {reason}{remedy}", error);
        }
    }

    private protected override bool ReadCore(long offset, Span<byte> destination)
    {
        try
        {
            int done = 0, count = 1;
            while (done < destination.Length && count != 0)
            {
                count = RandomAccess.Read(_file, destination[done..], offset + done);
                done += count;
            }

            return done == destination.Length;
        }
        catch (IOException error)
        {
            throw Unreadable(error);
        }
    }

    private protected override ulong CopyCore(long offset, ulong length, GuestMemory memory, GuestAddress address)
    {
        try
        {
            return memory.ReadFile(address, length, _file, offset);
        }
        catch (IOException error)
        {
            throw Unreadable(error);
        }
    }

    private BootException Unreadable(IOException error) => new($"{Name}: cannot be read: {FileErrors.Describe(error)}", error);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _file.Dispose();
        }

        base.Dispose(disposing);
    }
}
