namespace Vmm.Boot.Tests;

/// <summary>A directory of its own for each test, gone at the end.</summary>
internal sealed class TemporaryFiles : IDisposable
{
    private int _count;

    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("vmm-boot-").FullName;

    public string Write(ReadOnlySpan<byte> bytes)
    {
        string path = Next();
        File.WriteAllBytes(path, bytes);
        return path;
    }

    /// <summary>A file of zeros that takes no room on the disk.</summary>
    public string WriteSparse(long length)
    {
        string path = Next();
        using FileStream file = File.Create(path);
        file.SetLength(length);
        return path;
    }

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);

    private string Next() => Path.Combine(Directory, $"file{_count++}");
}
