using System.Runtime.InteropServices;
using Vmm.Boot;

namespace Vmm.Host;

// <sys/stat.h>, <stdio.h>, <unistd.h>: directories.
internal static partial class LibC
{
    [LibraryImport(
        "libc", EntryPoint = "mkdir", SetLastError = true, StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial int Mkdir(string path, uint mode);

    [LibraryImport(
        "libc", EntryPoint = "rmdir", SetLastError = true, StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial int Rmdir(string path);

    [LibraryImport(
        "libc", EntryPoint = "rename", SetLastError = true, StringMarshalling = StringMarshalling.Custom,
        StringMarshallingCustomType = typeof(FileNameMarshaller))]
    public static partial int Rename(string from, string to);
}
