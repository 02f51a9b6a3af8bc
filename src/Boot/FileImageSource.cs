using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

internal sealed class FileImageSource : ImageSource
{
    private const long MostWithoutLength = 1 << 30;

    private readonly SafeFileHandle _file;

    private FileImageSource(string path, SafeFileHandle file, long length)
        : base(path, length) => _file = file;

    public static ImageSource Open(string path, string role)
    {
        SafeFileHandle? file = OpenedFile.TryOpen(path, out long length, out string? reason, out int errno);
        if (file is null)
        {
            string remedy = reason == FileErrors.PermissionDenied ? ": make it readable for this user" : "";
            throw new BootException($"{role} {path}: {reason}{remedy}", new IOException(reason, errno));
        }

        if (length > 0)
        {
            return new FileImageSource(path, file, length);
        }

        // Files in /proc and /sys have no length.
        using (file)
        {
            byte[] content = ReadToEnd(file, path, role);
            return content.Length > 0
                ? FromMemory(path, content)
                : throw new BootException($"{role} {path}: is empty");
        }
    }

    private static byte[] ReadToEnd(SafeFileHandle file, string path, string role)
    {
        var content = new MemoryStream();
        var buffer = new byte[1 << 20];
        try
        {
            while (RandomAccess.Read(file, buffer, content.Length) is > 0 and int count)
            {
                content.Write(buffer, 0, count);
                if (content.Length > MostWithoutLength)
                {
                    throw new BootException($"{role} {path}: has no length, and does not end after {content.Length >> 20} MiB");
                }
            }
        }
        catch (Exception error) when (FileErrors.Describe(error) is not null)
        {
            throw new BootException($"{role} {path}: cannot be read: {FileErrors.Describe(error)}", error);
        }

        return content.ToArray();
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
