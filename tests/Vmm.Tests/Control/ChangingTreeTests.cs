using Vmm.Run.Copy;

namespace Vmm.Tests.Control;

/// <summary><c>vmm cp</c> of a tree that somebody changes meanwhile.</summary>
public sealed class ChangingTreeTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-changing-").FullName;
    private readonly List<string> _leftOut = [];

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>All of it happens once the names of the tree have been read, and before any file is: what is there still arrives, and what is
    /// not is told of.</summary>
    [Fact]
    public void A_tree_that_changes_meanwhile_arrives_as_far_as_it_is_there()
    {
        string source = Path.Combine(_directory, "source");
        string From(string name) => Path.Combine(source, name);
        string To(string name) => Path.Combine(_directory, name);
        foreach (string name in (string[])["directory", "to-file"])
        {
            Directory.CreateDirectory(From(name));
            File.WriteAllText(From($"{name}/inner"), "x");
        }

        foreach (string name in (string[])["a", "gone", "grows", "shrinks", "to-directory", "to-link", "z"])
        {
            File.WriteAllText(From(name), "content");
        }

        using var archive = new Changing(() =>
        {
            File.Delete(From("gone"));
            Directory.Delete(From("directory"), recursive: true);
            Directory.Delete(From("to-file"), recursive: true);
            File.WriteAllText(From("to-file"), "a file");
            File.AppendAllText(From("grows"), " and more");
            File.WriteAllText(From("shrinks"), "");
            File.Delete(From("to-directory"));
            Directory.CreateDirectory(From("to-directory/new"));
            File.Delete(From("to-link"));
            File.CreateSymbolicLink(From("to-link"), "/etc/passwd");
            File.WriteAllText(From("late"), "nobody knew of it");
        });
        using (var builder = new ArchiveBuilder(archive, _leftOut.Add))
        {
            builder.Add(source, "a");
        }

        Directory.Delete(source, recursive: true);
        Assert.Equal([$"{From("directory")}: has vanished", $"{From("gone")}: has vanished"], _leftOut.Order(StringComparer.Ordinal));
        _leftOut.Clear();
        archive.Position = 0;
        new ArchiveExtractor(_directory, "a", "b", _leftOut.Add).Extract(new ArchiveGuard(archive, 1 << 20));
        Assert.Empty(_leftOut);
        Assert.Equal(
            ["a", "grows", "shrinks", "to-directory", "to-file", "to-link", "z"],
            Directory.EnumerateFileSystemEntries(To("b")).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        Assert.Equal(("content", "content and more", "", "a file", "content"), (
            File.ReadAllText(To("b/a")), File.ReadAllText(To("b/grows")), File.ReadAllText(To("b/shrinks")), File.ReadAllText(To("b/to-file")),
            File.ReadAllText(To("b/z"))));
        Assert.True(Directory.Exists(To("b/to-directory/new")));
        Assert.Equal("/etc/passwd", new FileInfo(To("b/to-link")).LinkTarget);
    }

    /// <summary>Something happens when the first file's content has been written into it.</summary>
    private sealed class Changing(Action change) : MemoryStream
    {
        private Action? _change = change;

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            base.Write(buffer);
            Happen(buffer);
        }

        public override void Write(byte[] buffer, int offset, int count)
        {
            base.Write(buffer, offset, count);
            Happen(buffer.AsSpan(offset, count));
        }

        private void Happen(ReadOnlySpan<byte> written)
        {
            if (written.IndexOf("content"u8) >= 0 && Interlocked.Exchange(ref _change, null) is { } change)
            {
                change();
            }
        }
    }
}
